"""The design's own guards: the arrow, the rooms, what may be imported where."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("aigc", "cluster", "jobs")
TOP_LEVEL = {
    *PACKAGES,
    "tests",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
    "constraints.txt",
}
FORBIDDEN_NAMES = {"task", "item", "manager", "helper", "util", "utils", "common", "misc", "base"}


def in_child(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_top_level_is_fixed() -> None:
    names = {path.split("/")[0] for path in tracked()}

    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_what_is_learned_imports_without_ray_mlflow_and_click() -> None:
    script = f"""
import importlib, pathlib, sys
for blocked in ("ray", "mlflow", "click", "rich"):
    sys.modules[blocked] = None
for path in sorted(pathlib.Path("aigc").rglob("*.py")):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(name)
assert {str(ROOT)!r} in (sys.path[0], str(pathlib.Path.cwd()))
"""
    result = in_child(script)

    assert result.returncode == 0, result.stderr


def test_the_record_of_ticks_is_read_without_torch() -> None:
    """Whose import takes longer than all else that `aigc schedule list` does."""
    result = in_child("import sys; sys.modules['torch'] = None; import cluster.schedules")

    assert result.returncode == 0, result.stderr


def test_no_module_has_the_name_of_a_dependency_or_of_the_standard_library() -> None:
    taken = sys.stdlib_module_names | {"ray", "mlflow", "torch", "pyarrow", "click", "pytest"}
    names = {path.stem for path in modules() if path.stem not in ("__init__", "__main__")}

    # Names inside a package shadow nothing, since imports are absolute; these read well.
    assert names & taken <= {"code", "errors"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for path in modules()} & FORBIDDEN_NAMES


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_come_from_this_checkout(package: str) -> None:
    module = importlib.import_module(package)

    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / package


def test_each_folder_of_python_files_is_a_package() -> None:
    folders = {path.parent for path in modules()}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_nothing_is_pickled() -> None:
    suspicious = (
        "import pickle",
        "pickle.load",
        "torch.load(",
        "torch.save(",
        "joblib",
        "yaml.load(",
    )
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in modules()
        for word in suspicious
        if word in path.read_text()
    ]

    assert found == []


def test_every_direct_dependency_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pins = (ROOT / "constraints.txt").read_text().lower().splitlines()
    pinned = {line.split("==")[0].replace("_", "-") for line in pins if "==" in line}
    names = {json.dumps(each).strip('"').lower() for each in wanted}
    plain = {name.split("[")[0].split("=")[0].split("<")[0].split(">")[0] for name in names}

    assert plain - pinned == set()
