from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from cluster.code import PACKAGES, code_digest
from cluster.environment import Commit, commit, environment, environment_tags, gpus

OWN = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *OWN, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def packages(root: Path) -> None:
    for package in PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree in git, as it is in its commit."""
    root = tmp_path / "tree"
    packages(root)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    return root


def test_a_tree_that_is_as_it_was_committed_is_its_commit(tree: Path) -> None:
    (tree / "notes.txt").write_text("beside the packages")

    assert commit(tree) == Commit(git(tree, "rev-parse", "HEAD"), dirty=False)


@pytest.mark.parametrize("file", ["aigc/__init__.py", "jobs/new.py"])
def test_a_changed_or_a_new_file_makes_it_dirty(tree: Path, file: str) -> None:
    (tree / file).write_text("changed = True")

    found = commit(tree)
    assert found is not None
    assert found.dirty


def test_packages_that_lie_in_the_checkout_of_somebody_else_have_no_commit(tree: Path) -> None:
    packages(tree / "env" / "site-packages")

    assert commit(tree / "env" / "site-packages") is None


def test_without_git_there_is_no_commit(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages(tmp_path / "elsewhere")
    assert commit(tmp_path / "elsewhere") is None

    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tree) is None


def test_a_hook_of_another_repository_is_no_answer(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    packages(other)
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "another message, another commit")
    expected = commit(tree)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))

    assert commit(tree) == expected
    assert expected is not None


def test_an_environment_is_plain_data_that_says_what_runs() -> None:
    found = json.loads(json.dumps(environment()))

    assert found["code"] == code_digest()
    assert found["packages"]["torch"] == torch.__version__
    assert {"ray", "mlflow", "pyarrow", "numpy", "torch", "psutil"} <= set(found["packages"])
    assert found["cpu"]["count"] == os.cpu_count()
    assert found["memory_bytes"] > 2**30


def test_tags_name_the_commit_for_us_and_for_mlflow() -> None:
    found = {**environment(), "commit": "abc", "dirty": True}
    tags = environment_tags(found)

    assert tags["aigc.commit"] == tags["mlflow.source.git.commit"] == "abc"
    assert tags["aigc.dirty"] == "true"


def test_what_is_not_known_is_no_tag() -> None:
    found = {**environment(), "commit": None, "dirty": None, "gpus": []}

    assert set(environment_tags(found)) == {"aigc.host", "aigc.cpu"}


def test_gpus_are_told_with_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = "NVIDIA H100 80GB HBM3, 81559, 570.86.15"
    answer = tmp_path / "nvidia-smi"
    answer.write_text(f"#!/bin/sh\necho '{card}'\necho '{card}'\n")
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = gpus()

    answer.write_text("#!/bin/sh\necho 'NVIDIA GB10, [N/A], 580.95.05'\n")
    assert gpus() == [{"name": "NVIDIA GB10", "memory_mebibytes": None, "driver": "580.95.05"}]

    name = "NVIDIA H100 80GB HBM3"
    assert found == [{"name": name, "memory_mebibytes": 81559, "driver": "570.86.15"}] * 2
    assert environment_tags({**environment(), "gpus": found})["aigc.gpu"] == f"2 × {name}"


def test_a_driver_that_does_not_answer_has_no_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "nvidia-smi"
    answer.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert gpus() == []
