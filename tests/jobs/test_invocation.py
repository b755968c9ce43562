"""A command that reads makes no workspace: neither where one is misspelt, nor where none is yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import main

LISTS = (["job", "list"], ["data", "list"], ["model", "list"], ["track", "sync"])
NAMING = (
    ["job", "status", "x"],
    ["job", "logs", "x"],
    ["job", "wait", "x"],
    ["job", "cancel", "x"],
    ["job", "rerun", "x"],
    ["data", "show", "x"],
    ["data", "verify", "x"],
    ["model", "list", "x"],
    ["model", "show", "x@1"],
    ["model", "promote", "x@1"],
    ["model", "rollback", "x"],
    ["model", "history", "x"],
    ["track", "sync", "x"],
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given, without a workspace."""
    for name in ("AIGC_WORKSPACE", "AIGC_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [*LISTS, *NAMING], ids=" ".join)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_misspelt_workspace_is_not_made(
    words: list[str],
    by: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = ["--workspace", str(folder / "typo")]
    if by == "environment":
        monkeypatch.setenv("AIGC_WORKSPACE", named.pop())
        named.clear()

    assert main([*named, *words]) == 102
    assert capsys.readouterr() == (
        "",
        f"error: there is no workspace at {folder / 'typo'}. Check --workspace and AIGC_WORKSPACE; "
        "aigc data import and aigc submit make a new one\n",
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_the_workspace_that_is_not_there_yet_is_empty(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-o", "json"]) == 0
    assert capsys.readouterr() == ("[]\n", "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", NAMING, ids=" ".join)
@pytest.mark.parametrize("there", [True, False])
def test_what_is_asked_for_by_name_is_not_in_an_empty_workspace(
    words: list[str], there: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if there:
        (folder / "workspace").mkdir()
    before = list(folder.rglob("*"))

    assert main(words) == 102
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "'x" in err
    assert list(folder.rglob("*")) == before
