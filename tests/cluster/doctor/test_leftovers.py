"""What earlier submissions left is told, and stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aigc.data.files import digest_of
from cluster.delivery import Cursor
from cluster.doctor.contract import Finding, Installation
from cluster.doctor.leftovers import judge_interrupted, look
from cluster.workspace import Workspace


def submitted(workspace: Workspace, name: str, uri: str, *more: object) -> Path:
    run = workspace.run(name)
    run.path.mkdir(parents=True)
    begin = {"name": name, "tags": {}, "parent": None, "store": digest_of(uri)}
    lines = [{"time": 1000, "begin": begin}, *more]
    run.outbox.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run.outbox


def found(installation: Installation) -> list[Finding]:
    return list(look(installation))


def test_nothing_is_left_in_an_empty_workspace(installation: Installation) -> None:
    assert [finding.grade for finding in found(installation)] == ["ok", "ok"]


def test_what_waits_and_what_ended_between_is_a_warning(installation: Installation) -> None:
    workspace = installation.workspace
    outbox = submitted(workspace, "lost-1", workspace.tracking_uri)
    before = outbox.read_bytes()
    interrupted, record = found(installation)

    assert (interrupted.grade, record.grade) == ("warning", "warning")
    assert "aigc job rerun lost-1" in interrupted.advice
    assert "aigc track sync" in record.advice
    assert (outbox.read_bytes(), list(outbox.parent.iterdir())) == (before, [outbox])


def test_what_was_delivered_does_not_wait(installation: Installation) -> None:
    workspace = installation.workspace
    end = {"time": 2000, "end": "FINISHED"}
    outbox = submitted(workspace, "done-1", workspace.tracking_uri, end)
    store = digest_of(workspace.tracking_uri)
    Cursor(store, "run", "FINISHED", outbox.stat().st_size).note(workspace.run("done-1"))

    assert [finding.grade for finding in found(installation)] == ["ok", "ok"]


def test_what_waits_for_another_store_is_told_apart(installation: Installation) -> None:
    submitted(installation.workspace, "away-1", "https://elsewhere", {"time": 2, "end": "FINISHED"})
    _, record = found(installation)

    assert "another MLflow store has not all of away-1" in record.found


def test_a_submission_at_work_is_none_of_them(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = installation.workspace
    submitted(workspace, "busy-1", workspace.tracking_uri)
    with workspace.run("busy-1").locked():
        assert [finding.grade for finding in found(installation)] == ["ok", "ok"]


def test_of_many_a_few_are_named() -> None:
    finding = judge_interrupted(9, [f"vae-{n}" for n in range(5)])

    assert (
        finding.found == "vae-0, vae-1, vae-2 and 2 more ended without a word, of 9 submission(s)"
    )
