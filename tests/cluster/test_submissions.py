"""Submissions are read from their files, whatever state these are in, and nothing is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import SubmissionNotFound
from cluster.locks import exclusive
from cluster.submissions import details, find, standing, summaries
from cluster.tails import LOOK_BYTES, ends, entries, last_entries
from cluster.workspace import RunFolder, Workspace

BEGIN = {"name": "vae", "tags": {"aigc.kind": "train", "aigc.steps": "100"}, "parent": None}
"""As it stands in an outbox."""
Lines = list[Mapping[str, Any]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


def begin(time: int = 1000, **more: object) -> dict[str, Any]:
    return {"time": time, "begin": {**BEGIN, **more}}


def end(status: str, error: str | None = None, time: int = 9000) -> dict[str, Any]:
    why = {"why": {"error": error, "said": "so it is"}} if error else {}
    return {"time": time, "end": status, **why}


def write(path: Path, lines: Lines, rest: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)


def made(workspace: Workspace, name: str, *outbox: Mapping[str, Any]) -> RunFolder:
    run = workspace.run(name)
    write(run.outbox, list(outbox))
    return run


def test_no_submissions_are_none(workspace: Workspace) -> None:
    assert summaries(workspace) == []


def test_the_newest_comes_first(workspace: Workspace) -> None:
    for name, time in (("b", 2), ("c", 3), ("a", 1)):
        made(workspace, name, begin(time), end("FINISHED"))
    made(workspace, "d", begin(4), end("FAILED", "DataError"))

    assert [each.id for each in summaries(workspace)] == ["d", "c", "b", "a"]


def test_a_summary_says_what_it_is_and_how_far(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin(1000), {"time": 1001, "params": {}}, end("FINISHED"))
    write(run.journal, [{"step": n, "time": n, "figures": {"loss": 0.5}} for n in (50, 100)])
    (summary,) = summaries(workspace)

    assert (summary.kind, summary.name, summary.state) == ("train", "vae", "SUCCEEDED")
    assert (summary.step, summary.steps) == (100, 100)
    assert (summary.started, summary.ended) == (1000, 9000)


def test_a_held_one_is_running_until_its_process_is_gone(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin())
    with run.locked():
        assert standing(run).state == "RUNNING"
    assert standing(run).state == "INTERRUPTED"
    with workspace.run("vae-2").locked():
        assert standing(workspace.run("vae-2")).state == "PENDING"


@pytest.mark.parametrize(
    ("closed_as", "error", "state"),
    [
        ("FINISHED", None, "SUCCEEDED"),
        ("FAILED", "DataError", "FAILED"),
        ("KILLED", "Cancelled", "CANCELLED"),
        ("KILLED", "Preempted", "STOPPED"),
        ("KILLED", None, "INTERRUPTED"),
        (["FINISHED"], {"no": "text"}, "INTERRUPTED"),
    ],
)
def test_the_list_and_the_status_of_an_ended_one_agree(
    closed_as: Any, error: Any, state: str, workspace: Workspace
) -> None:
    run = made(workspace, "vae-1", begin(), {**end(closed_as, error), "step": 70})
    (summary,) = summaries(workspace)

    assert summary == details(run, workspace).summary
    assert summary.state == standing(run).state == state
    assert (summary.step, summary.started, summary.ended) == (70, 1000, 9000)


@pytest.mark.parametrize(("admitted", "state"), [(False, "QUEUED"), (True, "FAILED")])
def test_the_list_and_the_status_agree_on_an_ended_one_that_waits_in_line_again(
    admitted: bool, state: str, workspace: Workspace
) -> None:
    run = made(workspace, "vae-1", begin(), {**end("FAILED", "DataError"), "step": 70})
    write(run.ticket, [{"admitted": admitted, "reason": "1 before it in the line"}])
    with exclusive(run.ticket):
        (summary,) = summaries(workspace)
        assert summary == details(run, workspace).summary
        assert summary.state == standing(run).state == state
        assert summary.ended == (9000 if admitted else None)
    assert summaries(workspace)[0].state == standing(run).state == "FAILED"


def test_the_last_attempt_counts(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin(), end("FAILED", "DataError"))
    assert standing(run).reason == "DataError: so it is"

    write(run.outbox, [begin(), end("FAILED", "DataError"), begin(10_000)])
    assert standing(run).state == "INTERRUPTED"
    assert summaries(workspace)[0].ended is None


def test_what_is_registered_after_the_end_opens_nothing(workspace: Workspace) -> None:
    run = made(workspace, "trial", begin(), end("FINISHED"), {"time": 9001, "attach": "about"})

    assert standing(run).state == "SUCCEEDED"


def test_an_outcome_counts_where_the_record_was_not_closed(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin())
    run.outcome.write_text("{}")
    assert standing(run).state == "SUCCEEDED"

    os.utime(run.outcome, (0.5, 0.5))
    assert standing(run).state == "INTERRUPTED", "it is of an attempt before"


def test_a_checkpoint_is_where_a_rerun_goes_on(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin(), end("KILLED", "Preempted"))
    for step in (50, 900, 1000):
        (run.checkpoints / f"step-{step:08d}").mkdir(parents=True)
    (run.checkpoints / ".step-00002000.partial").mkdir()

    assert standing(run).reason == "a signal stopped it; a rerun goes on from step 1000"


def test_details_are_of_the_last_attempt(workspace: Workspace) -> None:
    again = {"tags": {"aigc.steps": "100", "aigc.rerun_of": "vae-0"}, "parent": "search-1"}
    run = made(workspace, "vae-1", begin(1000, **again), end("FAILED"), begin(5000, **again))
    write(
        run.journal,
        [{"step": n, "time": 100 * n, "figures": {"loss": n / 100}} for n in range(10, 100, 10)],
        '{"step": 100, "time',
    )
    trials = [{"figure": 1.0, "submission": "trial-1"}, {"error": "no"}, {}]
    write(run.trials, [{"seconds": 1, "trials": trials}])
    noted = {"store": "another", "run_id": "abc"}
    run.delivered.write_text(json.dumps(noted))
    with run.locked():
        known = details(run, workspace)

    assert (known.attempts, known.figures) == (2, {"loss": 0.9})
    assert (known.search, known.rerun_of) == ("search-1", "vae-0")
    assert known.seconds_left == 0.0
    assert known.trials == {"begun": 3, "ended": 2, "failed": 1, "submissions": ["trial-1"]}
    assert (known.run_id, known.link) == (None, None), "the run is in another store"


def test_a_run_of_a_server_has_a_page(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigc.data.files import digest_of

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example/")
    run = made(workspace, "vae-1", begin(), end("FINISHED"))
    noted = {"store": digest_of("https://mlflow.example/"), "run_id": "abc"}
    run.delivered.write_text(json.dumps(noted))

    assert details(run, workspace).link == "https://mlflow.example/#/runs/abc"


def test_the_beginning_of_an_id_is_enough(workspace: Workspace) -> None:
    for name in ("vae-1", "vae-12", "gan-1"):
        made(workspace, name, begin())

    assert find(workspace, "g").submission == "gan-1"
    assert find(workspace, "vae-1").submission == "vae-1", "a whole id is not ambiguous"
    with pytest.raises(SubmissionNotFound, match=r"2 submissions begin with 'v'.*vae-1, vae-12\?"):
        find(workspace, "v")


@pytest.mark.parametrize("asked", ["gun-1", "gam", "../gan-1", ""])
def test_an_unknown_id_is_told_with_what_is_near(workspace: Workspace, asked: str) -> None:
    made(workspace, "gan-1", begin())

    with pytest.raises(SubmissionNotFound, match="gan-1"):
        find(workspace, asked)


def test_nothing_near_is_told_too(workspace: Workspace) -> None:
    with pytest.raises(SubmissionNotFound, match=r"there is no submission 'x'.*aigc .*job list"):
        find(workspace, "x")


@pytest.mark.parametrize("length", [1, LOOK_BYTES - 20, LOOK_BYTES, 5 * LOOK_BYTES, 10**6])
def test_lines_of_any_length_are_found_at_both_ends(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lines"
    first, last = {"first": "x" * length}, {"last": "y" * length}

    write(path, [first])
    assert ends(path) == (first, first)
    write(path, [first, last])
    assert ends(path) == (first, last)
    write(path, [first, {}, last], rest='{"torn": ' + "z" * length)
    assert ends(path) == (first, last)


def test_the_last_entries_begin_with_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    write(path, [{"step": step, "x": "x" * 100} for step in range(2000)], rest="{")
    found = last_entries(path)

    assert [each["step"] for each in found] == list(range(2000 - len(found), 2000))
    assert 300 < len(found) < 2000
    assert list(entries(path))[-1] == found[-1]


damage = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"",
            b"\n",
            b"null\n",
            b"[]\n",
            b'{"begin": null}\n',
            b'{"begin": {"tags": 3}, "time": "x"}\n',
            b'{"begin": {}, "time": 1e300}\n',
            b'{"end": null, "why": []}\n',
            b'{"end": [1], "time": {}}\n',
            b'{"step": "x", "time": 3, "figures": 4}\n',
            b'{"step": 1, "time": 3, "figures": {"a": "b"}}\n',
            b'{"trials": [1, {"submission": [2]}]}',
            b"[" * 2_000 + b"\n",
            b'{"store": 5}',
        ]
    ),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(content=st.lists(damage, min_size=1, max_size=4), before=st.booleans())
def test_a_damaged_submission_is_read_and_left_alone(
    workspace: Workspace, content: list[bytes], before: bool
) -> None:
    run = made(workspace, "vae-1", begin())
    good = run.outbox.read_bytes() if before else b""
    paths = [run.outbox, run.journal, run.trials, run.delivered, run.outcome]
    for path in paths:
        path.write_bytes(good + b"".join(content))
    details(run, workspace)
    (summary,) = summaries(workspace)

    assert summary.id == "vae-1"
    assert {path.read_bytes() for path in paths} == {good + b"".join(content)}


def test_reading_changes_no_file(workspace: Workspace) -> None:
    run = made(workspace, "vae-1", begin())
    with run.locked():
        before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
        details(run, workspace)
        summaries(workspace)
        assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before
