"""A delivery that is killed wherever it is, and a disk that is full."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import uuid
from collections.abc import Sequence

import pytest
from mlflow.entities import Metric

from aigc.data.catalog import Dataset
from aigc.errors import WorkspaceUnwritable
from cluster.journal import Journal, JournalReader
from cluster.record import TrackedRun, begin_run
from cluster.tracking import Tracking

POINTS = 1500
DYING = """
import os, pathlib, sys
from cluster.cursor import Cursor
from cluster.delivery import Delivery
from cluster.tracking import Tracking
from cluster.workspace import Workspace

root, submission, most = sys.argv[1:]
noted, note = [0], Cursor.note

def dying(self, run):
    noted[0] += 1
    if noted[0] > int(most):
        os._exit(9)
    note(self, run)

Cursor.note = dying
workspace = Workspace(pathlib.Path(root))
Delivery(Tracking(workspace), workspace.run(submission)).drain()
"""


@pytest.fixture
def run(tracking: Tracking, digits: Dataset) -> TrackedRun:
    """A whole record, of which nothing is delivered."""
    run = begin_run(tracking, f"test-{uuid.uuid4().hex[:8]}", "test", {})
    run.folder.spec.write_text("kind: train\n")
    run.describe({"steps": POINTS}, run.folder.spec)
    run.use(digits, "train")
    journal = Journal(run.folder.journal)
    for step in range(POINTS):
        journal.report(step, {"loss": step / 7})
    journal.close()
    run.figures({"elbo": -3.5}, "evaluation", POINTS)
    run.end("FINISHED")
    return run


@pytest.mark.slow
def test_a_delivery_may_be_killed_after_each_call(run: TrackedRun) -> None:
    """Each process notes one thing more, and dies before it notes the next, which it has sent."""
    codes = list[int]()
    for noted in (0, *[1] * 12):
        words = [str(run.tracking.workspace.root), run.folder.submission, str(noted)]
        codes.append(subprocess.run([sys.executable, "-c", DYING, *words], check=False).returncode)
        if codes[-1] == 0:
            break
    assert codes[-1] == 0
    assert set(codes[:-1]) == {9}
    assert len(codes) == 9

    client = run.tracking.client
    (found,) = run.tracking.runs_of(run.folder.submission)
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [point.step for point in history] == list(range(POINTS))
    assert len(client.get_metric_history(found.info.run_id, "evaluation/elbo")) == 1
    assert found.data.params == {"steps": str(POINTS)}
    assert len(found.inputs.dataset_inputs) == 1


def test_what_a_full_disk_refuses_is_a_sentence_and_tears_no_entry(run: TrackedRun) -> None:
    before = run.folder.outbox.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(WorkspaceUnwritable, match=r"cannot write .*outbox\.jsonl"):
            run.figures({"late": 1.0}, "evaluation")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.folder.outbox.read_bytes() == before

    run.figures({"late": 2.0}, "evaluation")
    assert JournalReader(run.folder.outbox).new()[-1]["figures"] == {"evaluation/late": 2.0}


def test_progress_that_cannot_be_written_loses_nothing(run: TrackedRun) -> None:
    run.folder.delivered.mkdir()
    with pytest.raises(WorkspaceUnwritable, match="delivered"):
        run.settle()
    run.folder.delivered.rmdir()
    run.settle()

    (found,) = run.tracking.runs_of(run.folder.submission)
    assert len(run.tracking.client.get_metric_history(found.info.run_id, "loss")) == POINTS


def test_a_journal_that_began_anew_is_delivered_anew(run: TrackedRun) -> None:
    run.settle()
    run.folder.journal.write_text('{"step": 7, "time": 1764000000123, "figures": {"other": 1.0}}\n')
    run.settle()

    assert len(run.tracking.client.get_metric_history(run.run_id, "other")) == 1


def test_no_batch_is_followed_by_what_it_had_no_room_for(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin_run(tracking, f"test-{uuid.uuid4().hex[:8]}", "test", {})
    run.settle()
    journal = Journal(run.folder.journal)
    for step in range(300):
        journal.report(step, {f"loss-{number}": float(step) for number in range(7)})
    journal.close()
    log_batch, sizes = tracking.client.log_batch, list[int]()

    def counted(run_id: str, metrics: Sequence[Metric] = ()) -> None:
        sizes.append(len(metrics))
        log_batch(run_id, metrics)

    monkeypatch.setattr(tracking.client, "log_batch", counted)
    run.deliver()

    assert sizes == [994, 994, 112]
    history = tracking.client.get_metric_history(run.run_id, "loss-6")
    assert sorted(point.step for point in history) == list(range(300))


DAMAGED_OUTBOX = (
    {"time": 1, "tags": 3},
    {"time": 1, "params": []},
    {"time": 1, "step": "x", "figures": {"a": 1.0}},
    {"time": 1, "step": 1, "figures": {"a": {}}},
    {"time": 1, "attach": 3, "folder": None},
    {"time": 1, "input": {}, "context": None},
    {"time": 1, "register": [], "evaluation": None},
    {"time": 1, "judge": "x", "evaluation": None},
    {},
)
DAMAGED_JOURNAL = (
    {"time": 1, "step": 10**30, "figures": {"a": 1.0}},
    {"time": None, "step": 1, "figures": {"a": 1.0}},
    {"time": 1, "step": 1, "figures": 3},
    {"time": 1, "step": 1, "picture": 3},
)


def test_damaged_entries_are_put_aside_and_keep_no_other_waiting(run: TrackedRun) -> None:
    for path, damaged in (
        (run.folder.outbox, DAMAGED_OUTBOX),
        (run.folder.journal, DAMAGED_JOURNAL),
    ):
        *sound, last = path.read_text().splitlines()
        lines = (*sound, *map(json.dumps, damaged), last)
        path.write_text("".join(f"{line}\n" for line in lines))
    run.settle()

    (found,) = run.tracking.runs_of(run.folder.submission)
    assert found.info.status == "FINISHED"
    assert len(run.tracking.client.get_metric_history(found.info.run_id, "loss")) == POINTS
    refused = [entry["entry"] for entry in JournalReader(run.folder.refused)]
    assert refused == [*DAMAGED_OUTBOX, *DAMAGED_JOURNAL]
