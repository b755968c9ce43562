"""A train job that searches: trials are submissions, and the best one is registered."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from aigc.data.importers import import_dataset
from aigc.errors import Preempted
from cluster.errors import JobFailed
from cluster.journal import JournalReader
from cluster.places import Here, Worker
from cluster.resources import Resources
from cluster.workspace import Workspace
from jobs import training
from jobs.errors import SpecInvalid
from jobs.progress import Silent
from jobs.run import execute
from jobs.session import Session, open_session
from jobs.spec import Train, load
from jobs.specs import SPECS
from jobs.submission import Submission, prepare

VAE = SPECS / "tiny" / "vae.yaml"
SETTINGS = (
    "name=searched",
    "training.steps=4",
    "evaluation.metrics=[elbo]",
    "registry={model: searched, promote: {elbo: {at_least: -1.0e9}}}",
    "tune={metric: elbo, trials: 3, fields: "
    "{model.width: {choice: [8, 16]}, model.optimizer.learning_rate: {log_uniform: [1e-4, 0.1]}}}",
)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    workspace = Workspace.at(tmp_path)
    import_dataset(workspace.datasets, "digits")
    return open_session(workspace, "here", Silent())


def searched(session: Session, *settings: str) -> Submission:
    return prepare(load(VAE, [*SETTINGS, *settings]), session)


def trials_of(submission: Submission) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = json.loads(submission.run.trials.read_text())["trials"]
    return trials


def test_the_best_trial_is_registered(session: Session) -> None:
    submission = searched(session)
    outcome = execute(submission, session)

    trials = trials_of(submission)
    best = max(trials, key=lambda trial: float(trial["figure"]))
    version = session.registry.champion("searched")
    assert version is not None
    assert version.submission == best["submission"]
    assert outcome["best"] == best["values"]
    assert outcome["evaluation"]["figures"]["elbo"] == best["figure"]
    assert outcome["model"] == str(version)
    assert (outcome["trials"], outcome["failed"]) == (3, 0)
    folder = session.workspace.root / "fetched"
    session.registry.fetch(version, folder)


def test_each_trial_is_a_run_below_that_of_the_search(session: Session) -> None:
    submission = searched(session)
    outcome = execute(submission, session)

    client = session.tracking.client
    experiment = client.get_run(outcome["run_id"]).info.experiment_id
    query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{outcome['run_id']}'"
    children = client.search_runs([experiment], query)
    assert {child.info.status for child in children} == {"FINISHED"}
    tried = {trial["submission"]: trial["values"] for trial in trials_of(submission)}
    assert {child.data.tags["aigc.submission"] for child in children} == set(tried)
    for child in children:
        values = tried[child.data.tags["aigc.submission"]]
        assert child.data.params["model.width"] == str(values["model.width"])
    figures = [
        entry["figures"]["tune/elbo"] for entry in JournalReader(submission.run.journal).new()
    ]
    history = client.get_metric_history(outcome["run_id"], "tune/elbo")
    assert [point.value for point in history] == figures
    assert len(figures) == 3


def test_a_larger_budget_finds_the_same_trials_done(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(searched(session), session)
    trained: list[str] = []
    train = training._train

    def counted(attempt: Any, spec: Train) -> None:
        trained.append(attempt.submission.id)
        train(attempt, spec)

    monkeypatch.setattr(training, "_train", counted)
    larger = searched(session, "tune.trials=4")
    execute(larger, session)
    assert trained == [trials_of(larger)[3]["submission"]]


def test_a_trial_that_fails_does_not_fail_the_search(session: Session) -> None:
    # Of the two, only one divides the batch together with the other field.
    fields = "{training.batch_size: {choice: [32, 48]}, training.accumulate: {choice: [1, 32]}}"
    submission = searched(session, f"tune.fields={fields}", "tune.trials=8")
    outcome = execute(submission, session)

    failed = [trial for trial in trials_of(submission) if trial["error"]]
    assert 0 < len(failed) == outcome["failed"] < 8
    for trial in failed:
        assert trial["values"] == {"training.batch_size": 48, "training.accumulate": 32}
        assert "divisible" in trial["error"]


def test_a_search_of_failures_has_failed(session: Session) -> None:
    submission = searched(session, "tune.fields={model.optimizer.learning_rate: {choice: [1e30]}}")
    with pytest.raises(JobFailed, match="none of the 3 trials of searched ended well") as raised:
        execute(submission, session)
    assert "nan" in str(raised.value)
    assert session.registry.names() == []


def test_a_search_that_is_stopped_goes_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = searched(session, "training.seed=1")
    execute(undisturbed, session)
    train, begun = Here.train, [0]

    def stopped(self: Here, worker: Worker, resources: Resources) -> None:
        begun[0] += 1
        if begun[0] == 2:
            signal.raise_signal(signal.SIGTERM)
        train(self, worker, resources)

    monkeypatch.setattr(Here, "train", stopped)
    submission = searched(session, "training.seed=1", "name=stopped")
    with pytest.raises(Preempted, match="the search stopped"):
        execute(submission, session)
    assert [trial["figure"] is not None for trial in trials_of(submission)] == [True, False]

    execute(submission, session)
    assert begun[0] == 4
    assert [trial["figure"] for trial in trials_of(submission)] == [
        trial["figure"] for trial in trials_of(undisturbed)
    ]


def test_what_cannot_be_searched_is_told_with_its_field() -> None:
    fields = (
        "{model.optimizer.lr: {choice: [1]}, data.dataset: {choice: [a]}, "
        "training.batch_size: {choice: [32, 0]}, training.accumulate: {integer: [1, 33]}}"
    )
    with pytest.raises(SpecInvalid) as raised:
        load(VAE, [*SETTINGS, f"tune.fields={fields}", "tune.metric=frechet_200"])
    said = {problem.path: problem.message for problem in raised.value.problems}
    assert said[("tune", "metric")].startswith("must be one of evaluation.metrics: elbo")
    assert "unknown key" in said[("tune", "fields", "model.optimizer.lr")]
    assert "model or training" in said[("tune", "fields", "data.dataset")]
    assert said[("tune", "fields", "training.batch_size")] == "must be greater than 0 (got 0)"
    assert said[("tune", "fields", "training.accumulate")].startswith("training.batch_size must")


def test_a_trial_is_the_spec_with_other_values() -> None:
    spec = load(VAE, SETTINGS)
    assert isinstance(spec, Train)
    trial = spec.trial({"model.width": 16, "model.optimizer.learning_rate": 1e-05})
    assert trial.name == "searched-trial"
    assert trial.tune is None
    assert trial.registry is None
    assert trial.resources.workers == 1
    assert (trial.model.width, trial.model.optimizer.learning_rate) == (16, 1e-05)  # type: ignore[union-attr]
    assert trial.training == spec.training


def test_a_batch_need_not_be_divided_by_workers_that_each_train_a_model() -> None:
    spec = load(VAE, [*SETTINGS, "resources.workers=3"])
    assert isinstance(spec, Train)
    assert list(spec.team_sizes) == [1]
    with pytest.raises(SpecInvalid, match="divisible by the 3 workers"):
        load(VAE, [*SETTINGS, "resources.workers=3", "tune=null"])
