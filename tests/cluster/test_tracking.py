from __future__ import annotations

import uuid

import pytest
from PIL import Image

from aigc.data.catalog import Dataset
from cluster.errors import TrackingUnavailable
from cluster.journal import Journal
from cluster.tracking import TrackedRun, Tracking, flattened, following
from cluster.workspace import Workspace


@pytest.fixture
def submission() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def run(tracking: Tracking, submission: str) -> TrackedRun:
    return tracking.run(submission, "test", {"aigc.kind": "train"})


def test_a_submission_has_one_run_however_often_it_is_tried(
    tracking: Tracking, submission: str, run: TrackedRun
) -> None:
    run.end("FAILED")
    again = tracking.run(submission, "test", {})

    assert again.run_id == run.run_id
    assert tracking.client.get_run(run.run_id).info.status == "RUNNING"


def test_another_submission_has_another_run(tracking: Tracking, run: TrackedRun) -> None:
    assert tracking.run(f"test-{uuid.uuid4().hex[:8]}", "test", {}).run_id != run.run_id


def test_the_journal_is_delivered_whole_with_its_pictures(
    tracking: Tracking, run: TrackedRun, store: Workspace, submission: str
) -> None:
    folder = store.run(submission)
    (folder.samples).mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder.samples / "step-1.png")
    with following(folder, lambda entries: run.deliver(folder, entries)):
        journal = Journal(folder.journal)
        for step in range(1, 1201):
            journal.report(step, {"loss": 1 / step, "accuracy": 0.5})
        journal.show(1, "samples/step-1.png")
        journal.close()

    history = tracking.client.get_metric_history(run.run_id, "loss")
    assert [metric.step for metric in history] == list(range(1, 1201))
    assert history[9].value == pytest.approx(0.1)
    pictures = tracking.client.list_artifacts(run.run_id, "images")
    assert any("step" in picture.path for picture in pictures)


def test_delivering_twice_leaves_each_point_once(
    tracking: Tracking, run: TrackedRun, store: Workspace, submission: str
) -> None:
    entries = [{"step": 1, "time": 1_764_000_000_000, "figures": {"loss": 0.25}}]
    run.deliver(store.run(submission), entries)
    run.deliver(store.run(submission), entries)

    assert len(tracking.client.get_metric_history(run.run_id, "loss")) == 1


def test_what_could_not_be_delivered_is_delivered_later(workspace: Workspace) -> None:
    folder, delivered = workspace.run("test-1"), list[int]()
    down = [True, True]

    def deliver(entries: list[dict[str, int]]) -> None:
        if down:
            down.pop()
            raise TrackingUnavailable("the MLflow store does not answer")
        delivered.extend(entry["step"] for entry in entries)

    with following(folder, deliver):
        journal = Journal(folder.journal)
        journal.report(1, {"loss": 1.0})
        journal.close()
        while down:
            pass

    assert delivered == [1]


def test_the_next_attempt_delivers_only_what_is_new(workspace: Workspace) -> None:
    folder, delivered = workspace.run("test-1"), list[int]()

    for step in (1, 2):
        with following(
            folder, lambda entries: delivered.extend(entry["step"] for entry in entries)
        ):
            journal = Journal(folder.journal)
            journal.report(step, {"loss": 1.0})
            journal.close()

    assert delivered == [1, 2]


def test_dataset_digests_are_recorded_as_inputs(
    tracking: Tracking, run: TrackedRun, digits: Dataset
) -> None:
    run.use(digits, "train")
    inputs = tracking.client.get_run(run.run_id).inputs.dataset_inputs

    assert [each.dataset.name for each in inputs] == ["digits"]
    assert digits.manifest.digest.startswith(inputs[0].dataset.digest)


def test_a_server_that_is_not_there_is_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    with pytest.raises(TrackingUnavailable, match=r"does not answer.*MLFLOW_TRACKING_URI"):
        Tracking(workspace)


def test_nested_fields_become_dotted_parameters() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": None,
    }


def test_what_a_crash_left_of_a_new_store_is_made_again(workspace: Workspace) -> None:
    (workspace.root / ".mlflow.db.partial").write_bytes(b"half a database")

    assert Tracking(workspace).client.search_experiments()
    assert not (workspace.root / ".mlflow.db.partial").exists()


def test_an_empty_variable_names_no_server(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")

    assert workspace.tracking_uri.startswith("sqlite:///")
    assert workspace.artifact_location == (workspace.root / "mlartifacts").as_uri()
