"""Every spec that is shipped does what it says, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from aigc.models.artifact import load_model
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import JOBS, execute
from jobs.session import Session, open_session
from jobs.spec import Train, load
from jobs.specs import SPECS
from jobs.submission import prepare

SHIPPED = sorted(SPECS.glob("*/*.yaml"))
TRAINING = sorted((SPECS / "training").glob("*.yaml"))
USING = sorted([*(SPECS / "generation").glob("*.yaml"), *(SPECS / "evaluation").glob("*.yaml")])
TOY = ("training.steps=4", "training.batch_size=16", "training.report_every=2")
UNJUDGED = (*TOY, "evaluation.metrics=[]", "registry.promote=null")
SMALL = ("count=60", "shard_size=25", "evaluation.metrics=[]", "gates={}")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session in this process, with the datasets that the specs name."""
    workspace = Workspace.at(tmp_path_factory.mktemp("specs"))
    for dataset in ("digits", "mnist-5k"):
        import_dataset(workspace.datasets, dataset)
    return open_session(workspace, "here", Reporter())


@pytest.fixture(scope="module")
def champion(session: Session) -> Session:
    """The same session, with a champion and a challenger of every model that the specs name."""
    for model, dataset in (("digits", "mnist-5k"), ("tiny", "digits")):
        names = f"name=toy-{model}", f"registry.model={model}", f"data.dataset={dataset}"
        path = SPECS / "training" / "article-gan.yaml"
        outcome = execute(prepare(load(path, [*UNJUDGED, *names]), session), session)
        for alias in ("champion", "challenger"):
            number = outcome["model"].partition("@")[2]
            session.tracking.client.set_registered_model_alias(model, alias, number)
    return session


def test_the_folders_hold_what_their_names_say() -> None:
    kinds = {path: load(path).kind for path in SHIPPED}

    assert {kinds[path] for path in TRAINING} == {"train"}
    assert {kinds[path] for path in (SPECS / "generation").iterdir() if path in kinds} == {
        "generate"
    }
    assert set(JOBS) == set(kinds.values())


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_every_shipped_training_runs_and_registers_its_model(path: Path, session: Session) -> None:
    spec = load(path, UNJUDGED)
    assert isinstance(spec, Train)
    submission = prepare(spec, session)
    outcome = execute(submission, session)
    lines = [json.loads(line) for line in submission.run.journal.read_text().splitlines()]

    assert [line["step"] for line in lines if "figures" in line] == [2, 4]
    assert load_model(submission.run.model).digest == outcome["model_digest"]
    assert spec.registry is not None
    assert outcome["model"].startswith(f"{spec.registry.model}@")


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_every_shipped_training_finds_what_it_names(path: Path, session: Session) -> None:
    submission = prepare(load(path), session)

    assert submission.dataset is not None
    assert not submission.run.path.exists()


@pytest.mark.parametrize("path", USING, ids=lambda path: path.stem)
def test_every_shipped_job_that_uses_a_model_finds_what_it_names(
    path: Path, champion: Session
) -> None:
    # The toy champion was never judged: there is nothing of it to compare a night with.
    settings = ["gates={}"] if path.parent.name == "generation" else []
    submission = prepare(load(path, settings), champion)

    assert submission.model is not None
    assert submission.dataset is not None
    assert submission.dataset.reference.startswith("mnist-5k@")
    assert not submission.run.path.exists()


@pytest.mark.parametrize(
    "path", sorted((SPECS / "generation").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_generation_makes_a_dataset(path: Path, champion: Session) -> None:
    outcome = execute(prepare(load(path, SMALL), champion), champion)

    assert outcome["published"] is True
    assert {"blank", "duplicate"} <= set(outcome["figures"])
    if load(path).screening is None:  # type: ignore[union-attr]
        return
    report = json.loads(Path(outcome["report"]).with_name("report.json").read_text())
    count = report["plan"]["count"]
    assert report["funnel"]["accepted"] == report["labelling"]["checked"] == count
    assert report["copying"]["checked"] == report["funnel"]["made"] >= count
    assert len(report["copying"]["pairs"]) == 12
    assert report["economics"]["cpu_hours"] > 0
    run = champion.workspace.run(outcome["submission"])
    assert not run.candidates.exists()
    assert not run.memory.exists()
    assert (Path(outcome["report"]).parents[1] / "index.html").exists()


def test_a_spec_means_the_same_submission_until_something_in_it_changes(session: Session) -> None:
    path = SPECS / "tiny" / "vae.yaml"
    one, again = prepare(load(path), session), prepare(load(path), session)
    other = prepare(load(path, ["training.seed=1"]), session)

    assert one.id == again.id
    assert one.id != other.id
    assert one.id.startswith("tiny-vae-")
