from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cluster import package
from cluster.code import PACKAGES, code_digest
from cluster.errors import PackageTooLarge
from cluster.package import ROOT, pack


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_what_is_unpacked_is_the_same_code(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(pack().content)) as archive:
        archive.extractall(tmp_path)
    said = subprocess.run(
        [sys.executable, "-c", "import cluster.code as c; print(c.__file__, c.code_digest())"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert said == [str(tmp_path / "cluster" / "code.py"), code_digest()]


def test_the_same_code_is_the_same_package_and_other_code_another(copied: Path) -> None:
    first = pack(copied)
    (copied / "jobs" / "__pycache__").mkdir(exist_ok=True)
    (copied / "jobs" / "__pycache__" / "x.pyc").write_bytes(b"x")
    os.utime(copied / "jobs" / "cli.py", (1, 1))
    assert pack(copied) == first
    (copied / "jobs" / "cli.py").write_text("# other\n")
    assert pack(copied).name != first.name


def test_what_is_too_large_is_refused_before_it_is_read(copied: Path) -> None:
    large = copied / "aigc" / "forgotten.yaml"
    with large.open("wb") as file:
        file.truncate(2 * 2**30)
    with pytest.raises(PackageTooLarge, match=r"has 20\d\d MiB.*largest is aigc/forgotten.yaml"):
        pack(copied)


def test_the_limit_is_that_of_the_message(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(each.stat().st_size for each in package._files(copied))
    monkeypatch.setattr(package, "MOST_BYTES", size)
    pack(copied)
    monkeypatch.setattr(package, "MOST_BYTES", size - 1)
    with pytest.raises(PackageTooLarge):
        pack(copied)


@pytest.mark.parametrize("name", [".env", "notes.txt", ".hidden.py", "id_rsa", "jobs.py.swp"])
def test_what_is_no_code_stays(name: str, copied: Path) -> None:
    """cluster/deploy/.env holds the secrets of compose.yaml."""
    first = pack(copied)
    (copied / "cluster" / "deploy" / name).write_text("RAY_AUTH_TOKEN=secret")
    assert pack(copied) == first
