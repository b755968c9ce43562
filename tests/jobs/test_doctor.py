"""aigc doctor as one sees it: what is printed, and what it ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.doctor.contract import Area, Check, Finding, ok, problem, warning
from jobs.cli import main
from jobs.commands.doctor import as_lines, shipped
from jobs.specs import SPECS


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "AIGC_STORE"):
        monkeypatch.delenv(name, raising=False)


def checked(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the table of checks be one that finds these."""
    checks = (Check("area", lambda installation: findings),)
    monkeypatch.setattr("cluster.doctor.CHECKS", checks)


def test_a_workspace_is_examined_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    main(["--workspace", str(workspace), "doctor", "-o", "json"])
    found = json.loads(capsys.readouterr().out)

    assert {"software", "workspace", "mlflow", "machine", "ray", "room"} <= {
        each["area"] for each in found
    }
    assert set(found[0]) == {"area", "name", "grade", "found", "advice"}
    assert [each for each in found if "check failed" in each["found"]] == []
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("findings", "code", "summary"),
    [
        ([ok("a", "fine")], 0, "1 ok, no warnings, no problems"),
        ([ok("a", "fine"), warning("b", "hm", "Look")], 0, "1 ok, 1 warning, no problems"),
        (
            [problem("a", "no", "Mend it"), warning("b", "hm", "Look")],
            100,
            "0 ok, 1 warning, 1 problem",
        ),
    ],
)
def test_only_a_problem_changes_the_exit_code(
    findings: list[Finding],
    code: int,
    summary: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checked(monkeypatch, *findings)

    assert main(["--workspace", str(tmp_path), "doctor"]) == code
    printed = capsys.readouterr()
    assert printed.err == f"{summary}\n"
    assert printed.out.splitlines()[0] == "area"
    assert all(finding.advice in printed.out for finding in findings)


def test_a_workspace_that_cannot_be_one_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workspace", "s3://bucket", "doctor"]) == 2
    assert "not a folder of this machine" in capsys.readouterr().err


def test_lines_are_folded_below_each_other_at_the_width_of_a_terminal() -> None:
    area = Area("area", (problem("a name", "word " * 40, "then " * 40),))
    title, *lines = as_lines(area, 80)

    assert title.endswith("area\x1b[0m")
    assert len(lines) > 6
    assert {line[: line.index(line.strip()[0])] for line in lines[1:]} == {" " * 29}
    assert sum("→" in line for line in lines) == 1
    assert all(len(line) <= 80 for line in lines[1:])


def test_without_a_terminal_a_finding_is_one_line() -> None:
    area = Area("area", (warning("a name", "word " * 40, "then " * 40),))

    assert len(as_lines(area, None)) == 3


def test_the_shipped_training_specs_are_all_known() -> None:
    names = {path.stem for path in (SPECS / "training").glob("*.yaml")}

    assert set(shipped()) == names
