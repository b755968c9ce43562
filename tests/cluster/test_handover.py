"""The note of a handover: what it says, and which Ray Job comes next."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cluster.handover import Handover, job_name, note_cancelled, size_of, was_forgotten
from cluster.locks import exclusive
from cluster.states import Standing
from cluster.submissions import standing, summaries
from cluster.workspace import RunFolder, Workspace


@pytest.fixture
def run(workspace: Workspace) -> RunFolder:
    run = workspace.run("night-0123456789")
    run.path.mkdir(parents=True)
    return run


def noted(run: RunFolder, workspace: Workspace) -> Handover:
    note = Handover("https://head:8265", False, job_name(run, workspace), 5, 0)
    note.write(run)
    return note


def begins(run: RunFolder, time: int = 7) -> None:
    with run.outbox.open("a") as outbox:
        print(json.dumps({"time": time, "begin": {"name": "night", "tags": {}}}), file=outbox)


def test_what_was_handed_over_is_pending_until_its_files_say_more(
    run: RunFolder, workspace: Workspace
) -> None:
    noted(run, workspace)
    assert standing(run) == Standing("PENDING", "it was handed to https://head:8265")
    (summary,) = summaries(workspace)
    assert (summary.state, summary.started, summary.ended) == ("PENDING", 5, None)

    begins(run)
    with run.locked():
        assert standing(run).state == "RUNNING"
    assert standing(run).state == "INTERRUPTED"


def test_an_ended_one_that_is_asked_for_again_is_listed_as_that(
    run: RunFolder, workspace: Workspace
) -> None:
    begins(run)
    ended = {"time": 9, "end": "FAILED", "step": 70, "why": {"error": "WorkerLost"}}
    with run.outbox.open("a") as outbox:
        print(json.dumps(ended), file=outbox)
    assert [each.state for each in summaries(workspace)] == ["FAILED"]

    Handover("https://head:8265", False, "a-job", 5, size_of(run)).write(run)
    assert [each.state for each in summaries(workspace)] == ["PENDING"]
    run.ticket.parent.mkdir(exist_ok=True)
    run.ticket.write_text("{}")
    with exclusive(run.ticket):
        assert [each.state for each in summaries(workspace)] == ["QUEUED"]


def test_the_same_request_has_the_same_id_and_a_later_attempt_another(
    run: RunFolder, workspace: Workspace
) -> None:
    note = noted(run, workspace)
    assert note.job.startswith("night-0123456789-")
    assert note.job.endswith("-1")
    assert job_name(run, workspace) == note.job

    note_cancelled(run)
    assert job_name(run, workspace) == f"{note.job[:-1]}2"
    replace(note, job=f"{note.job[:-1]}9").write(run)
    begins(run)
    assert job_name(run, workspace) == f"{note.job[:-1]}10"


def test_another_workspace_has_another_id(run: RunFolder, workspace: Workspace) -> None:
    other = Workspace.at(workspace.root.parent / "other")
    assert job_name(run, workspace) != job_name(other.run(run.submission), other)


def test_what_was_cancelled_before_it_began_stays_so(run: RunFolder, workspace: Workspace) -> None:
    noted(run, workspace)
    note_cancelled(run)
    assert standing(run) == Standing("CANCELLED", "it was cancelled before it began")
    begins(run)
    note_cancelled(run)
    assert standing(run).state == "INTERRUPTED"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"head": 1, "insecure": false, "job": "x-1", "time": 0, "heard": 0}',
        '{"head": "h", "insecure": false, "job": "x-1", "time": 0, "heard": "0"}',
        '{"head": "h", "insecure": false, "job": 5, "time": 0, "heard": 0}',
        '{"head": "h", "insecure": false, "job": "x", "time": 0, "heard": 0, "ended": ["no", ""]}',
        '{"head": "h", "insecure": false, "job": "x-1", "time": 0, "heard": 0, "ended": 5}',
        '{"head": "h", "insecure": false, "job": "x", "time": 0, "heard": 0, "ended": ["FAILED"]}',
        '{"head": "h", "insecure": false, "job": "x-1", "time": 0, "heard": 0, "more": 0}',
    ],
)
def test_a_damaged_note_is_none(text: str, run: RunFolder, workspace: Workspace) -> None:
    run.handover.write_text(text)
    assert Handover.of(run) is None
    assert job_name(run, workspace).endswith("-1")
    assert standing(run).state == "INTERRUPTED"


def test_only_what_a_head_has_lost_before_it_began_is_forgotten(
    run: RunFolder, workspace: Workspace
) -> None:
    assert not was_forgotten(run)
    note = noted(run, workspace)
    assert not was_forgotten(run)
    replace(note, ended=("FAILED", "so it is")).write(run)
    assert not was_forgotten(run)
    replace(note, ended=("INTERRUPTED", "its head has forgotten it")).write(run)
    assert was_forgotten(run)
    begins(run)
    assert not was_forgotten(run)
