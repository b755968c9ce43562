"""A submission is what is asked, pinned: the same asked twice is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from aigc.errors import DataError, DatasetNotFound, ModelError, TrainingDiverged
from cluster.errors import AlreadyRunning, CanNeverFit, ModelNotFound
from cluster.local import LocalRay
from cluster.places import Here
from cluster.record import TrackedRun
from cluster.workspace import Workspace
from jobs.errors import SpecInvalid
from jobs.progress import Reporter
from jobs.run import execute, require_passed
from jobs.session import Session, open_session
from jobs.source import parse
from jobs.spec import Spec, Train, check, load
from jobs.specs import SPECS
from jobs.submission import Attempt, Submission, prepare

VAE = SPECS / "tiny" / "vae.yaml"
GENERATE = """kind: generate
name: night
model: toy@1
count: 20
publish: {dataset: night}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session in this process with the digits, and a model toy@1 that has run two steps."""
    workspace = Workspace.at(tmp_path_factory.mktemp("submission"))
    import_dataset(workspace.datasets, "digits")
    session = open_session(workspace, "here", Reporter())
    toy = ["training.steps=2", "evaluation.metrics=[]", "registry={model: toy}", "name=toy"]
    execute(prepare(load(SPECS / "tiny" / "gan.yaml", toy), session), session)
    return session


def generate(text: str = GENERATE) -> Spec:
    return check(parse(text.encode(), "night.yaml"))


def test_a_place_is_opened_by_its_name_and_not_started(tmp_path: Path, session: Session) -> None:
    assert isinstance(session.place, Here)
    local = open_session(session.workspace, "local", Reporter())
    assert isinstance(local.place, LocalRay)
    assert not (session.workspace.root / "ray").exists()


def test_preparing_pins_the_dataset_and_writes_nothing(session: Session) -> None:
    before = sorted(session.workspace.root.rglob("*"))
    submission = prepare(load(VAE), session)

    assert isinstance(submission.spec, Train)
    assert submission.dataset is not None
    assert submission.spec.data.dataset == submission.dataset.reference
    assert submission.spec.data.dataset.startswith("digits@")
    assert sorted(session.workspace.root.rglob("*")) == before


def test_a_submission_is_named_by_what_is_asked(session: Session) -> None:
    asked = prepare(load(VAE), session)
    pinned = prepare(load(VAE, [f"data.dataset={asked.spec.data.dataset}"]), session)

    assert pinned.id == asked.id
    assert prepare(load(VAE, ["training.seed=1"]), session).id != asked.id
    assert asked.run.path == session.workspace.root / "runs" / asked.id
    assert asked.outcome(session) is None


def test_a_newer_version_of_the_dataset_is_another_submission(
    session: Session, tmp_path: Path
) -> None:
    workspace = Workspace.at(tmp_path)
    here = Session(workspace, Here(), session.reporter, session.tracking, session.registry)
    first, _ = import_dataset(workspace.datasets, "digits")
    before = prepare(load(VAE), here)
    newer = first.manifest.model_copy(
        update={"version": "newer", "created": "2999-01-01T00:00:00.000+00:00"}
    )
    (first.folder.parent / "newer").mkdir()
    (first.folder.parent / "newer" / "manifest.json").write_text(newer.sealed().model_dump_json())
    after = prepare(load(VAE), here)

    assert after.dataset is not None
    assert after.dataset.reference == "digits@newer"
    assert after.id != before.id


def test_a_generation_pins_its_model_and_needs_no_dataset(session: Session) -> None:
    submission = prepare(generate(), session)

    assert str(submission.model) == "toy@1"
    assert submission.dataset is None


def test_a_generation_is_judged_against_what_its_model_learned(session: Session) -> None:
    metrics = "evaluation: {metrics: [class_balance_min_10]}\n"
    submission = prepare(generate(GENERATE + metrics), session)

    assert submission.dataset is not None
    assert submission.dataset.manifest.name == "digits"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["data.dataset=faces"], DatasetNotFound),
        (["data.dataset=digits@000"], DatasetNotFound),
        (["resources.cpus_per_worker=4096"], CanNeverFit),
    ],
)
def test_what_cannot_be_is_refused(
    settings: list[str], error: type[Exception], session: Session
) -> None:
    with pytest.raises(error):
        prepare(load(VAE, settings), session)


def test_a_model_that_is_not_there_is_refused(session: Session) -> None:
    with pytest.raises(ModelNotFound):
        prepare(generate(GENERATE.replace("toy@1", "toy@2")), session)


def refusals(text: str, session: Session) -> list[str]:
    source = parse(text.encode(), "night.yaml")
    with pytest.raises(SpecInvalid) as error:
        prepare(check(source), session, source)
    return [str(problem) for problem in error.value.problems]


def test_a_night_takes_no_name_that_trainings_read(session: Session) -> None:
    (refusal,) = refusals(GENERATE.replace("{dataset: night}", "{dataset: digits}"), session)
    assert refusal.startswith("night.yaml:5: publish.dataset: must be a name of generated datasets")


def test_a_gate_beside_a_figure_that_the_model_has_not_is_refused_before_the_night(
    session: Session,
) -> None:
    gates = "gates: {class_balance_min_10: {of_champion: 2}, blank: {of_champion: 2}}\n"
    metrics = "evaluation: {metrics: [class_balance_min_10]}\n"
    for refusal in (found := refusals(f"{GENERATE}{metrics}{gates}", session)):
        assert refusal.startswith("night.yaml:7: gates.")
        assert ".of_champion: toy@1 has no " in refusal
    assert len(found) == 2


def asking_likelihoods(session: Session, recipe: str, *settings: str) -> Submission:
    """A generation that is to be judged by likelihoods, with a model of that recipe, just made."""
    name = f"{recipe}-{len(settings)}"
    toy = ["training.steps=2", "evaluation.metrics=[]", f"registry={{model: {name}}}"]
    execute(prepare(load(SPECS / "tiny" / f"{recipe}.yaml", [*toy, *settings]), session), session)
    text = GENERATE.replace("toy@1", f"{name}@1") + "evaluation: {metrics: [log_likelihood]}\n"
    source = parse(text.encode(), "night.yaml")
    return prepare(check(source), session, source)


@pytest.mark.parametrize(
    ("recipe", "settings"), [("gan", []), ("attention", ["model.words={count: 8, width: 8}"])]
)
def test_a_model_that_cannot_do_it_is_refused_by_the_field(
    recipe: str, settings: list[str], session: Session
) -> None:
    with pytest.raises(SpecInvalid) as error:
        asking_likelihoods(session, recipe, *settings)

    (problem,) = error.value.problems
    assert str(problem).startswith("night.yaml:6: evaluation.metrics: must not name log_likelihood")
    assert "@1 has no bound on the likelihood" in str(problem)


def test_a_model_that_has_likelihoods_is_asked_for_them(session: Session) -> None:
    assert asking_likelihoods(session, "attention").model is not None


def test_likelihoods_train_no_extractor(session: Session) -> None:
    asked = ["evaluation.metrics=[log_likelihood]", "training.steps=2", "registry=null"]
    outcome = execute(prepare(load(VAE, asked), session), session)

    assert outcome["evaluation"]["extractor_digest"] is None
    assert list(outcome["evaluation"]["figures"]) == ["log_likelihood"]
    assert "digits-extractor" not in session.registry.names()


def test_a_dataset_without_labels_has_likelihoods_and_no_figures_of_samples(
    session: Session, tmp_path: Path
) -> None:
    here = replace(session, workspace=Workspace.at(tmp_path))
    labelled, _ = import_dataset(tmp_path / "labelled", "digits")
    layout = labelled.manifest.layout.model_copy(update={"labels": ()})
    bare = labelled.manifest.model_copy(update={"layout": layout})
    folder = here.workspace.datasets / "digits" / bare.version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(bare.sealed().model_dump_json())

    assert (
        prepare(load(VAE, ["registry=null", "evaluation.metrics=[elbo]"]), here).dataset is not None
    )
    with pytest.raises(SpecInvalid, match=r"evaluation\.extractor: must name a registered"):
        prepare(load(VAE, ["registry=null", "evaluation.metrics=[elbo, frechet_200]"]), here)


def test_a_job_asks_only_for_what_it_has(session: Session) -> None:
    submission = prepare(generate(), session)
    tracked = TrackedRun(session.tracking, submission.run)
    attempt = Attempt(submission, session, tracked, lambda: submission.run.model)

    assert attempt.model is submission.model
    with pytest.raises(DataError, match="uses no dataset"):
        _ = attempt.dataset
    training = Attempt(prepare(load(VAE), session), session, tracked, attempt.extractor)
    with pytest.raises(ModelError, match="uses no registered model"):
        _ = training.model


def test_what_is_done_is_answered_and_not_run_again(session: Session) -> None:
    submission = prepare(generate(), session)
    outcome = execute(submission, session)
    # All but the lock, which whoever looks holds for a moment, and signs.
    files = [path for path in submission.run.path.rglob("*") if path != submission.run.lock]
    before = {path: path.stat().st_mtime_ns for path in files}
    status = session.tracking.client.get_run(outcome["run_id"]).info

    assert submission.outcome(session) == outcome
    assert execute(prepare(generate(), session), session) == outcome
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert session.tracking.client.get_run(outcome["run_id"]).info.end_time == status.end_time
    assert json.loads(submission.run.outcome.read_text())["submission"] == submission.id
    require_passed(outcome)


def test_a_failed_submission_is_one_run_and_can_be_tried_again(session: Session) -> None:
    settings = ["model.optimizer={learning_rate: 1e+30}", "training.report_every=1"]
    submission = prepare(load(VAE, [*settings, "registry=null"]), session)
    for _ in range(2):
        with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
            execute(submission, session)
    query = f"tags.`aigc.submission` = '{submission.id}'"
    runs = session.tracking.client.search_runs(["1"], query)

    assert [run.info.status for run in runs] == ["FAILED"]
    assert submission.outcome(session) is None


def test_two_attempts_of_one_submission_never_run_side_by_side(session: Session) -> None:
    submission = prepare(load(VAE), session)
    with (
        submission.run.locked(),
        pytest.raises(AlreadyRunning, match="is running in another process"),
    ):
        execute(submission, session)
