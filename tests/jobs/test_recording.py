"""What MLflow has of a run afterwards, of one that failed as of one that did well."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from aigc.data.importers import Options, import_dataset
from aigc.errors import Preempted, TrainingDiverged
from cluster.code import code_digest
from cluster.environment import commit
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import ERROR_TAG, execute
from jobs.session import Session, open_session
from jobs.spec import load
from jobs.specs import SPECS
from jobs.submission import Submission, prepare

TINY = SPECS / "tiny"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session in this process, with the digits and a text."""
    root = tmp_path_factory.mktemp("recording")
    workspace = Workspace.at(root / "workspace")
    import_dataset(workspace.datasets, "digits")
    (root / "tale.txt").write_text("Sire, the ships of Málaga have come to harbour.\n" * 100)
    import_dataset(workspace.datasets, "text", "tale", root / "tale.txt", Options(length=32))
    return open_session(workspace, "here", Reporter())


@pytest.fixture(scope="module")
def trained(session: Session) -> Submission:
    settings = ["evaluation.metrics=[log_likelihood, nats_per_byte]", "registry=null"]
    submission = prepare(load(TINY / "vae.yaml", settings), session)
    execute(submission, session)
    return submission


def run_of(submission: Submission, session: Session) -> Run:
    (run,) = session.tracking.client.search_runs(
        ["1"], f"tags.`aigc.submission` = '{submission.id}'"
    )
    return run


def attached(submission: Submission, session: Session, folder: str) -> dict[str, Path]:
    """The files in that folder of the run's artifacts, which are fetched, by their names."""
    client, run_id = session.tracking.client, run_of(submission, session).info.run_id
    fetched = Path(client.download_artifacts(run_id, folder))
    return {path.name: path for path in fetched.iterdir()}


def test_a_run_says_what_it_was_made_with(trained: Submission, session: Session) -> None:
    run = run_of(trained, session)
    environment = json.loads(attached(trained, session, "")["environment.json"].read_text())

    assert environment["packages"]["mlflow"] == mlflow.__version__
    assert environment["code"] == code_digest() == run.data.tags["aigc.code"]
    assert run.data.tags["aigc.host"] == environment["host"]
    made_from = commit()
    assert run.data.tags.get("aigc.commit") == (made_from.sha if made_from else None)
    assert environment["commit"] == run.data.tags.get("mlflow.source.git.commit")
    assert ERROR_TAG not in run.data.tags


def test_a_run_has_the_logs_of_its_driver_and_of_its_worker(
    trained: Submission, session: Session
) -> None:
    logs = attached(trained, session, "logs")
    driver, worker = (logs[f"{who}.log"].read_text() for who in ("driver", "worker-0"))

    assert sorted(logs) == ["driver.log", "worker-0.log"]
    assert re.search(rf"INFO driver jobs.run: {trained.id} begins on here\n", driver)
    assert "evaluating log_likelihood, nats_per_byte" in driver
    assert "INFO worker-0 cluster.training: worker 0 of 1 on cpu" in worker


def test_the_figures_of_the_evaluation_are_a_table_that_mlflow_reads(
    trained: Submission, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(trained, session)
    client = session.tracking.client
    # It looks for the run in the store of the environment, whatever the client's is.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    table = client.load_table(run.info.experiment_id, "evaluation.json", [run.info.run_id])

    assert list(table["metric"]) == ["log_likelihood", "nats_per_byte"]
    assert list(table["better"]) == ["higher", "lower"]
    figures = [run.data.metrics[f"evaluation/{name}"] for name in table["metric"]]
    assert list(table["figure"]) == figures
    assert trained.dataset is not None
    assert all(trained.dataset.manifest.digest in protocol for protocol in table["protocol"])


def test_losses_norms_and_times_are_there_by_step(trained: Submission, session: Session) -> None:
    client, run_id = session.tracking.client, run_of(trained, session).info.run_id
    for name in ("autoencoder/loss", "autoencoder/gradient_norm", "time/data_wait_share"):
        history = client.get_metric_history(run_id, name)
        assert [metric.step for metric in history] == [5, 10, 15, 20], name


def test_texts_are_attached_beside_their_pictures(session: Session) -> None:
    settings = ["data.dataset=tale", "evaluation.metrics=[]", "registry=null", "name=tale"]
    submission = prepare(
        load(TINY / "attention.yaml", [*settings, "training.sample_every=10"]), session
    )
    execute(submission, session)
    texts = attached(submission, session, "samples")

    assert sorted(texts) == [f"step-{step:08d}.txt" for step in (0, 10, 20)]
    assert len({path.read_text() for path in texts.values()}) == 3


def test_a_run_that_failed_has_its_spec_its_figures_so_far_and_the_reason(session: Session) -> None:
    settings = ["model.optimizer={learning_rate: 1e+30}", "training.report_every=1"]
    submission = prepare(load(TINY / "vae.yaml", [*settings, "registry=null"]), session)
    with pytest.raises(TrainingDiverged):
        execute(submission, session)
    run = run_of(submission, session)
    logs = attached(submission, session, "logs")

    assert run.info.status == "FAILED"
    assert re.match(r"autoencoder/\w+ is (nan|inf) at step \d+\. Lower", run.data.tags[ERROR_TAG])
    assert {"spec.yaml", "environment.json"} <= set(attached(submission, session, ""))
    assert "autoencoder/loss" in run.data.metrics
    for who in ("driver", "worker-0"):
        said = logs[f"{who}.log"].read_text()
        assert re.search(rf"ERROR {who} \S+ failed: autoencoder/\w+ is (nan|inf)", said)
        assert "Traceback (most recent call last)" in said


def test_a_run_that_was_stopped_has_its_logs_and_no_error(session: Session) -> None:
    settings = ["evaluation.metrics=[]", "registry=null", "training.steps=100000"]
    submission = prepare(load(TINY / "vae.yaml", settings), session)
    folder = submission.run

    def stop() -> None:
        while not (folder.journal.exists() and folder.journal.stat().st_size):
            time.sleep(0.01)
        folder.stop.touch()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Preempted):
        execute(submission, session)
    run = run_of(submission, session)

    assert run.info.status == "KILLED"
    assert ERROR_TAG not in run.data.tags
    assert "WARNING driver cluster.logs: stopped: " in (
        attached(submission, session, "logs")["driver.log"].read_text()
    )
