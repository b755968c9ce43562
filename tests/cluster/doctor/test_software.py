"""What is installed against what is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from aigc import __version__
from cluster.doctor.contract import Installation
from cluster.doctor.software import (
    Demands,
    conflicts,
    demands,
    import_failure,
    judge_code,
    judge_conflicts,
    judge_imports,
    judge_names,
    judge_packages,
    judge_python,
    look,
)
from cluster.environment import packages

ROOT = Path(__file__).parents[3]


def test_this_environment_has_no_problem(installation: Installation) -> None:
    assert {finding.grade for finding in look(installation)} <= {"ok", "warning"}


def test_the_demands_are_those_of_the_project() -> None:
    wanted = demands()

    assert str(wanted.python) == ">=3.11"
    assert {"torch", "ray", "mlflow", "click"} <= {each.name for each in wanted.packages}


@pytest.mark.parametrize(
    ("version", "grade"), [("3.10.9", "problem"), ("3.11.0", "ok"), ("3.13.0rc1", "ok")]
)
def test_python_is_as_asked_for(version: str, grade: str) -> None:
    assert judge_python(version, Demands(SpecifierSet(">=3.11"), ())).grade == grade


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ({"ray": "2.60.1", "torch": "2.13.0"}, "all 2"),
        ({"ray": "2.59.0", "torch": "2.13.0"}, "ray==2.60.*, and has 2.59.0"),
        ({"ray": "2.60.0"}, "torch==2.13.0, which is not installed"),
        # A build for one kind of device is of that version.
        ({"ray": "2.60.0", "torch": "2.13.0+cu130"}, "all 2"),
    ],
)
def test_packages_are_as_asked_for(installed: dict[str, str], found: str) -> None:
    asked = [Requirement("ray[train]==2.60.*"), Requirement("torch==2.13.0")]
    finding = judge_packages(asked, installed)

    assert found in finding.found
    assert (finding.grade == "ok") == found.startswith("all")


def test_what_a_package_of_ours_misses_is_a_conflict() -> None:
    asked = [Requirement("mlflow>=3"), Requirement("ray[train]==2.60.*")]
    installed = packages()
    assert conflicts(asked, installed) == []

    found = conflicts(asked, {**installed, "pyarrow": "1.0", "flask": "9.0"})
    assert any(each.startswith("mlflow needs flask") for each in found)
    # Asked for by the extra alone.
    assert any(each.startswith("ray needs pyarrow") for each in found)
    assert judge_conflicts(found).grade == "warning"


@pytest.mark.parametrize(
    ("names", "grade", "said"),
    [
        (["torch", "ray"], "ok", "once"),
        (["Torch", "torch"], "warning", "torch"),
        (["torch", "cluster"], "problem", "cluster"),
    ],
)
def test_a_package_that_lies_over_another_is_found(names: list[str], grade: str, said: str) -> None:
    finding = judge_names(names)

    assert finding.grade == grade
    assert said in finding.found


def test_what_cannot_be_imported_is_a_problem() -> None:
    failures = {"click": import_failure("click"), "nowhere": import_failure("nowhere")}

    assert judge_imports({"click": failures["click"]}).grade == "ok"
    finding = judge_imports(failures)
    assert finding.grade == "problem"
    assert finding.found == "nowhere: ModuleNotFoundError: No module named 'nowhere'"


@pytest.mark.parametrize(
    ("installed", "dirty", "grade"),
    [
        (__version__, False, "ok"),
        (None, False, "ok"),
        ("0.0.9", False, "warning"),
        (None, True, "warning"),
    ],
)
def test_code_that_is_not_what_it_is_called_is_a_warning(
    installed: str | None, dirty: bool, grade: str
) -> None:
    assert judge_code(installed, "0123456789abcdef", dirty).grade == grade


def test_a_broken_torch_is_a_finding_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is not there')\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.insert(1, {str(ROOT)!r})\n"
        "from jobs.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "--workspace", str(tmp_path / "none"), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 100, done.stderr
    assert "torch: ImportError: libtorch.so is not there" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
