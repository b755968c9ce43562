from __future__ import annotations

import time
import uuid

import pytest

from aigc.data.catalog import Dataset
from cluster.errors import TrackingRefused, TrackingUnavailable
from cluster.record import begin_run, flattened
from cluster.tracking import Tracking, answered
from cluster.workspace import Workspace


@pytest.fixture
def submission() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def test_a_submission_has_one_run_however_often_it_is_tried(
    tracking: Tracking, submission: str
) -> None:
    run = begin_run(tracking, submission, "test", {"aigc.kind": "train"})
    run.end("FAILED")
    first = run.run_id
    again = begin_run(tracking, submission, "test", {})
    again.settle()

    assert again.run_id == first
    assert tracking.client.get_run(first).info.status == "RUNNING"
    assert tracking.client.get_run(first).data.tags["aigc.kind"] == "train"


def test_another_submission_has_another_run(tracking: Tracking, submission: str) -> None:
    one = begin_run(tracking, submission, "test", {})
    other = begin_run(tracking, f"{submission}-other", "test", {})

    assert one.run_id != other.run_id


def test_a_run_has_the_times_of_its_submission_and_not_of_its_delivery(
    tracking: Tracking, submission: str
) -> None:
    before = time.time()
    run = begin_run(tracking, submission, "test", {})
    run.figures({"loss": 0.5}, "evaluation", step=3)
    run.end("FINISHED")
    after = time.time()
    time.sleep(0.05)
    run.settle()

    info = tracking.client.get_run(run.run_id).info
    (point,) = tracking.client.get_metric_history(run.run_id, "evaluation/loss")
    times = [info.start_time, point.timestamp, info.end_time]
    assert times == sorted(times)
    assert before - 0.001 <= info.start_time / 1000
    assert info.end_time / 1000 <= after
    assert (point.step, point.value) == (3, 0.5)


def test_dataset_digests_are_recorded_as_inputs(
    tracking: Tracking, submission: str, digits: Dataset
) -> None:
    run = begin_run(tracking, submission, "test", {})
    run.use(digits, "train")
    run.settle()
    inputs = tracking.client.get_run(run.run_id).inputs.dataset_inputs

    assert [each.dataset.name for each in inputs] == ["digits"]
    assert digits.manifest.digest.startswith(inputs[0].dataset.digest)


def test_more_parameters_than_mlflow_takes_at_once(tracking: Tracking, submission: str) -> None:
    run = begin_run(tracking, submission, "test", {})
    (run.folder.spec).write_text("kind: train\n")
    run.describe({"many": {str(number): number for number in range(250)}}, run.folder.spec)
    run.settle()

    assert len(tracking.client.get_run(run.run_id).data.params) == 250


def test_a_server_that_is_not_there_is_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    with pytest.raises(TrackingUnavailable, match=r"does not answer.*MLFLOW_TRACKING_URI"):
        _ = Tracking(workspace).experiment


def test_what_mlflow_will_never_take_is_no_silence(tracking: Tracking) -> None:
    with pytest.raises(TrackingRefused, match="no-such-run"), answered():
        tracking.client.get_run("no-such-run")


def test_nested_fields_become_dotted_parameters() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": None,
    }


def test_an_empty_variable_names_no_server(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")

    assert workspace.tracking_uri.startswith("sqlite:///")
    assert workspace.artifact_location == (workspace.root / "mlartifacts").as_uri()
