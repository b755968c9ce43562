"""A silent MLflow costs a job nothing, and gets everything once when it answers again."""

from __future__ import annotations

import threading
import time
import tracemalloc
import uuid
from pathlib import Path

import pytest
from mlflow_server import MlflowServer
from PIL import Image
from proxy import Proxy

from aigc.data.catalog import Dataset
from cluster.contact import (
    Delivered,
    deliver_left_behind,
    delivering,
    in_contact,
    left_behind,
    waiting,
    waiting_elsewhere,
)
from cluster.delivery import Delivery
from cluster.errors import TrackingUnavailable
from cluster.evaluation import Evaluation
from cluster.journal import Journal, JournalReader
from cluster.ledger import Cause
from cluster.record import begin_run
from cluster.tracking import Tracking
from cluster.workspace import RunFolder, Workspace

STEPS, FIGURES = 300, 4
FAULTS = ("refuse", "hang", "reset", "500", "429")


@pytest.fixture
def submission() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


class Job:
    """What a training does with its record, in two halves."""

    def __init__(self, workspace: Workspace, submission: str, dataset: Dataset) -> None:
        self.workspace, self.submission, self.dataset = workspace, submission, dataset

    def begin(self, tracking: Tracking) -> None:
        self.tracked = begin_run(tracking, self.submission, "test", {"aigc.kind": "train"})
        self.folder = self.tracked.folder
        self.folder.spec.write_text("kind: train\n")
        self.tracked.describe({"training": {"steps": STEPS}}, self.folder.spec)
        self.tracked.use(self.dataset, "train")

    def train(self, steps: range) -> None:
        journal = Journal(self.folder.journal)
        for step in steps:
            journal.report(step, {f"loss{each}": step / 7 for each in range(FIGURES)})
        self.folder.samples.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(self.folder.samples / f"{steps[-1]}.png")
        journal.show(steps[-1], f"samples/{steps[-1]}.png")
        journal.close()

    def train_all(self) -> None:
        self.train(range(STEPS // 2))
        self.train(range(STEPS // 2, STEPS))

    def end(self) -> None:
        self.tracked.figures({"elbo": -3.5}, "evaluation", STEPS)
        self.tracked.end("FINISHED")


def settled(tracking: Tracking, submission: str) -> list[Delivered]:
    """Deliver everything; returns what became of this submission, if it had anything to tell."""
    found = deliver_left_behind(tracking, left_behind(tracking))
    return [each for each in found if each.submission == submission]


def meets(job: Job, proxy: Proxy, heard: int) -> None:
    """Until the delivery has brought everything or, where the server is at fault, has met that."""
    last = time.monotonic() + 60
    silent = lambda: job.tracked.tracking.silence is not None or proxy.heard > heard  # noqa: E731
    while not (waiting(job.tracked) == 0 if proxy.mode == "pass" else silent()):
        assert time.monotonic() < last, proxy.mode
        time.sleep(0.01)


def assert_whole(server: MlflowServer, submission: str, tracking: Tracking) -> None:
    """One run, which is finished, and everything in it once."""
    query = "SELECT run_uuid FROM tags WHERE key = 'aigc.submission' AND value = ?"
    ((run_id,),) = server.rows(query, submission)
    assert server.rows("SELECT status FROM runs WHERE run_uuid = ?", run_id) == [("FINISHED",)]
    points = server.rows("SELECT key, step FROM metrics WHERE run_uuid = ?", run_id)
    expected = [(f"loss{each}", step) for each in range(FIGURES) for step in range(STEPS)]
    assert sorted(points) == sorted([*expected, ("evaluation/elbo", STEPS)])
    assert server.rows("SELECT value FROM params WHERE run_uuid = ?", run_id) == [(str(STEPS),)]
    inputs = "SELECT count(*) FROM inputs WHERE destination_id = ?"
    assert server.rows(inputs, run_id) == [(1,)]
    client = tracking.client
    assert [each.path for each in client.list_artifacts(run_id)] == ["images", "spec.yaml"]
    assert len(client.list_artifacts(run_id, "images")) == 4


@pytest.mark.parametrize("moment", ["at the start", "in the middle", "at the end", "throughout"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_costs_nothing(
    fault: str,
    moment: str,
    server: MlflowServer,
    proxy: Proxy,
    workspace: Workspace,
    submission: str,
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.contact.POLL_SECONDS", 0.05)
    tracking, job = Tracking(workspace), Job(workspace, submission, digits)
    modes = {
        "at the start": (fault, "pass", "pass"),
        "in the middle": ("pass", fault, "pass"),
        "at the end": ("pass", "pass", fault),
        "throughout": (fault, fault, fault),
    }[moment]
    proxy.mode, heard = modes[0], proxy.heard
    job.begin(tracking)
    with delivering(job.tracked):
        job.train(range(STEPS // 2))
        meets(job, proxy, heard)
        proxy.mode, heard = modes[1], proxy.heard
        job.train(range(STEPS // 2, STEPS))
        meets(job, proxy, heard)
        proxy.mode = modes[2]
        job.end()

    proxy.mode = "pass"
    time.sleep(0.1)
    assert [each.waits for each in settled(tracking, submission)] in ([], [0])
    assert_whole(server, submission, tracking)
    assert left_behind(tracking) == []


def test_nothing_is_sent_twice_by_deliveries_side_by_side(
    server: MlflowServer, proxy: Proxy, workspace: Workspace, submission: str, digits: Dataset
) -> None:
    tracking, job = Tracking(workspace), Job(workspace, submission, digits)
    job.begin(tracking)
    job.train_all()
    job.end()
    deliveries = [Delivery(Tracking(workspace), job.folder) for _ in range(4)]
    threads = [threading.Thread(target=each.drain) for each in deliveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(each.points for each in deliveries) == STEPS * FIGURES + 1
    assert_whole(server, submission, tracking)


def test_progress_that_is_lost_changes_nothing(
    server: MlflowServer, proxy: Proxy, workspace: Workspace, submission: str, digits: Dataset
) -> None:
    tracking, job = Tracking(workspace), Job(workspace, submission, digits)
    job.begin(tracking)
    job.train_all()
    job.end()
    for _ in range(2):
        job.tracked.settle()
        job.folder.delivered.unlink()

    assert_whole(server, submission, tracking)


def test_a_run_that_a_lost_reply_has_made_twice_is_removed(
    server: MlflowServer, proxy: Proxy, workspace: Workspace, submission: str, digits: Dataset
) -> None:
    tracking, job = Tracking(workspace), Job(workspace, submission, digits)
    job.begin(tracking)
    job.tracked.settle()
    tags = dict(tracking.runs_of(submission)[0].data.tags)
    late = tracking.client.create_run(tracking.experiment, tags=tags)
    foreign = tracking.client.create_run(
        tracking.experiment, tags={"aigc.submission": submission, "aigc.begun": "elsewhere"}
    )
    job.train_all()
    job.end()
    job.tracked.settle()

    alive = {run.info.run_id for run in tracking.runs_of(submission)}
    assert alive == {job.tracked.run_id, foreign.info.run_id}
    assert late.info.run_id not in alive


def test_the_clock_may_be_set_back(
    server: MlflowServer,
    proxy: Proxy,
    workspace: Workspace,
    submission: str,
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracking, job = Tracking(workspace), Job(workspace, submission, digits)
    job.begin(tracking)
    job.train(range(STEPS // 2))
    job.tracked.settle()
    hour = 3_600 * 10**9
    monkeypatch.setattr("cluster.journal.time.time_ns", lambda real=time.time_ns: real() - hour)
    job.train(range(STEPS // 2, STEPS))
    job.end()
    job.tracked.settle()

    assert_whole(server, submission, tracking)


def test_one_server_that_hangs_is_asked_once_for_all_that_waits(
    proxy: Proxy, workspace: Workspace, digits: Dataset
) -> None:
    proxy.mode = "refuse"
    tracking = Tracking(workspace)
    for number in range(5):
        begin_run(tracking, f"{uuid.uuid4().hex[:8]}-{number}", "test", {}).end("FINISHED")
    proxy.mode, heard = "hang", proxy.heard
    delivered = list(deliver_left_behind(tracking, left_behind(tracking)))

    assert [each.waits for each in delivered] == [2] * 5
    assert proxy.heard == heard + 1


def test_what_mlflow_will_never_take_is_put_aside(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    gone = tracking.workspace.root / "gone.txt"
    run.append({"params": {"a": "1"}})
    run.append({"params": {"a": "2"}})
    run.attach(gone)
    run.append({"from a later version": 1})
    run.end("FINISHED")
    (delivered,) = deliver_left_behind(tracking, [run.folder])

    assert (delivered.status, delivered.waits, delivered.refused) == ("FINISHED", 0, 3)
    reasons = [line["why"] for line in JournalReader(run.folder.refused)]
    assert "a" in reasons[0]
    assert reasons[1] == f"{gone} is not there any more"
    assert tracking.client.get_run(run.run_id).data.params == {"a": "1"}


def test_the_judgement_of_a_version_that_is_gone_is_put_aside(
    tracking: Tracking, submission: str
) -> None:
    run = begin_run(tracking, submission, "test", {})
    figures = Evaluation({"elbo": 1.0}, None, "digits@1", "d", None, 0, 0)
    run.judge_later("nobody@1", figures, None, Cause("evaluate", "it passed", submission))
    run.end("FINISHED")
    (delivered,) = deliver_left_behind(tracking, [run.folder])

    assert (delivered.status, delivered.waits, delivered.refused) == ("FINISHED", 0, 1)


def test_a_store_of_decisions_that_is_down_keeps_no_other_waiting(
    tracking: Tracking, submission: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = begin_run(tracking, f"{submission}-judged", "test", {})
    figures = Evaluation({"elbo": 1.0}, None, "digits@1", "d", None, 0, 0)
    judged.judge_later("nobody@1", figures, None, Cause("evaluate", "it passed", submission))
    other = begin_run(tracking, submission, "test", {})
    other.end("FINISHED")
    monkeypatch.setenv("AIGC_STORE", "postgresql://aigc@127.0.0.1:1/aigc")
    first, second = deliver_left_behind(tracking, [judged.folder, other.folder])

    assert "the store of decisions does not answer" in str(first.reason)
    assert (second.reason, second.status) == (None, "FINISHED")


def test_one_bad_point_does_not_cost_the_others(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    journal = Journal(run.folder.journal)
    for step in range(300):
        journal.report(step, {"loss": 0.5, "a\nb" if step in (7, 250) else "accuracy": 0.5})
    journal.close()
    (delivered,) = deliver_left_behind(tracking, [run.folder])

    assert (delivered.points, delivered.refused, delivered.waits) == (598, 2, 0)
    assert [line["entry"]["step"] for line in JournalReader(run.folder.refused)] == [7, 250]
    assert len(tracking.client.get_metric_history(run.run_id, "loss")) == 300


def test_a_deleted_run_keeps_what_it_is_to_get(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    tracking.client.delete_run(run.run_id)
    run.figures({"loss": 0.5}, "evaluation")
    (delivered,) = deliver_left_behind(tracking, [run.folder])
    assert (delivered.waits, delivered.refused) == (1, 0)
    assert f"the run of {submission} was deleted" in str(delivered.reason)

    tracking.client.restore_run(run.run_id)
    (delivered,) = deliver_left_behind(tracking, [run.folder])
    assert (delivered.points, delivered.waits, delivered.reason) == (1, 0, None)


def statuses(tracking: Tracking, submission: str) -> list[str]:
    return [run.info.status for run in tracking.runs_of(submission)]


def test_the_run_of_a_process_that_is_gone_is_closed(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    run.settle()
    with run.folder.locked():
        assert settled(tracking, submission) == []
        assert statuses(tracking, submission) == ["RUNNING"]
    last = run.folder.outbox.stat().st_mtime
    (delivered,) = settled(tracking, submission)

    assert (delivered.submission, delivered.status) == (submission, "KILLED")
    ended = tracking.runs_of(submission)[0].info
    assert ended.status == "KILLED"
    assert abs(ended.end_time / 1000 - last) < 0.01


def test_a_run_whose_outcome_is_there_was_finished(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    run.folder.outcome.write_text(f'{{"store": "{tracking.store}"}}')
    settled(tracking, submission)

    assert statuses(tracking, submission) == ["FINISHED"]


def test_the_next_contact_delivers_what_was_left(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    with in_contact(tracking):
        until = time.monotonic() + 20
        while statuses(tracking, submission) != ["KILLED"]:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert run.folder.delivered.exists()


def test_what_was_meant_for_another_store_waits_for_it(
    workspace: Workspace, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    elsewhere = begin_run(Tracking(workspace), "elsewhere", "test", {})
    with pytest.raises(TrackingUnavailable, match=r"does not answer.*MLFLOW_TRACKING_URI"):
        elsewhere.settle()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    here = Tracking(workspace)
    assert left_behind(here) == []
    assert waiting_elsewhere(here) == 1


def test_a_trial_waits_for_the_run_of_its_search(tracking: Tracking, submission: str) -> None:
    trial = begin_run(tracking, f"{submission}-trial", "test", {}, parent=submission)
    with pytest.raises(TrackingUnavailable, match="the run of the search"):
        trial.settle()
    search = begin_run(tracking, submission, "test", {})
    search.settle()
    trial.settle()

    tags = tracking.client.get_run(trial.run_id).data.tags
    assert tags["mlflow.parentRunId"] == search.run_id


def test_a_large_backlog_takes_no_memory(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    line = '{"step": 1, "time": 1, "figures": {"loss": 0.5}}\n'
    folder.journal.write_text(line * 20_000)
    tracemalloc.start()
    assert sum(1 for _ in JournalReader(folder.journal)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_half_a_line_of_a_killed_worker_waits_for_nobody(
    tracking: Tracking, submission: str
) -> None:
    run = begin_run(tracking, submission, "test", {})
    run.folder.journal.write_text('{"step": 1, "time": 1, "figures": {"loss": 0.5}}\n{"step": 2')
    assert [each.points for each in settled(tracking, submission)] == [1]
    assert settled(tracking, submission) == []


def test_a_record_is_delivered_while_it_grows(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    with delivering(run):
        run.figures({"a": 1.0}, "x")
        until = time.monotonic() + 20
        while not tracking.runs_of(submission):
            assert time.monotonic() < until
            time.sleep(0.1)


@pytest.mark.parametrize("damage", ["{\n", "[1]\n", "null\n"])
def test_a_damaged_record_keeps_no_other_waiting(
    workspace: Workspace, tracking: Tracking, submission: str, damage: str
) -> None:
    damaged = begin_run(tracking, f"{submission}-damaged", "test", {}).folder
    damaged.outbox.write_text(damage)
    begin_run(tracking, submission, "test", {}).end("FINISHED")
    told = {
        each.submission: each.reason
        for each in deliver_left_behind(tracking, left_behind(tracking))
        if each.submission.startswith(submission)
    }

    assert told[submission] is None
    assert statuses(tracking, submission) == ["FINISHED"]
    assert "no JSON object" in str(told[damaged.submission])
    damaged.outbox.unlink()
