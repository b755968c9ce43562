"""From a spec to its outcome: the one path that every job takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aigc.errors import DataError, Preempted
from cluster.errors import GateRefused, StoreUnavailable, TrackingUnavailable
from cluster.registry import ModelVersion
from cluster.tracking import TrackedRun
from jobs.errors import Problem, SpecInvalid
from jobs.evaluation import run_evaluation
from jobs.generation import run_generation
from jobs.spec import Train, load
from jobs.specs import SPECS
from jobs.submission import Attempt, Outcome, Session, Submission, prepare
from jobs.training import recipe_digest, run_training
from jobs.tuning import run_search


def _train(attempt: Attempt) -> Outcome:
    assert isinstance(attempt.spec, Train)
    return run_search(execute, attempt) if attempt.spec.tune else run_training(attempt)


JOBS: dict[str, Callable[[Attempt], Outcome]] = {
    "train": _train,
    "evaluate": run_evaluation,
    "generate": run_generation,
}

EXTRACTOR_SPEC = SPECS / "training" / "extractor.yaml"
"""The seeded recipe of the extractor that a dataset gets when the spec names no other."""


def execute(submission: Submission, session: Session, wait: bool = False) -> Outcome:
    """Run a submission to its end on the session's place, which is started.

    One that has ended well before is not run again; one that another process runs is an error,
    unless it is to `wait` for it. Raises what the job raises, after closing its
    MLflow run as FAILED, or KILLED when it was interrupted or asked to stop.
    """
    named = _named_extractor(submission, session)
    _say_who_promoted(submission, session)
    with submission.run.locked(wait):
        done = submission.outcome(session)
        if done is not None:
            session.reporter.say(f"{submission.id} is done already; this is its outcome")
            return done
        tracked = submission.open_run(session)
        with _closing(tracked, session):
            submission.publish_what_is_left()
            submission.describe(tracked)
            extractor = functools.partial(_extractor, submission, session, named)
            attempt = Attempt(submission, session, tracked, extractor)
            outcome = JOBS[submission.spec.kind](attempt)
            return submission.finish(tracked, session, outcome)


def _say_who_promoted(submission: Submission, session: Session) -> None:
    """Warn of a generation by a champion that was never promoted through the ledger."""
    model = submission.model
    if model is None or submission.spec.kind != "generate":
        return
    with suppress(TrackingUnavailable, StoreUnavailable):
        if move := session.registry.moved_outside(model):
            session.reporter.say(
                f"warning: {model} was made champion in MLflow itself, without gates; seen at "
                f"{move.at}. See: aigc model history {model.name}"
            )


def require_passed(outcome: Outcome) -> None:
    """Raise GateRefused if the outcome has a verdict and it is no."""
    verdict = outcome.get("verdict")
    if verdict and not verdict["passed"]:
        refused = [each["reason"] for each in verdict["results"] if not each["passed"]]
        raise GateRefused(
            f"{outcome['submission']} did not pass its gates: {'; '.join(refused)}",
            "Train longer or change the gates; champion and published datasets are what they were",
        )


@contextmanager
def _closing(tracked: TrackedRun, session: Session) -> Iterator[None]:
    try:
        yield
    except Preempted:
        _end(tracked, "KILLED")
        raise
    except Exception:
        _end(tracked, "FAILED")
        raise
    except BaseException:
        _end(tracked, "KILLED")
        session.reporter.say("stopped: submit the same spec again to go on from where it was")
        raise


def _end(tracked: TrackedRun, status: str) -> None:
    """Close the run; that MLflow is down must not hide why it ends."""
    with suppress(TrackingUnavailable):
        tracked.end(status)


def _named_extractor(submission: Submission, session: Session) -> ModelVersion | None:
    """The extractor that the spec names, looked up before anything is started."""
    name = submission.spec.evaluation.extractor
    if name is None:
        return None
    named = session.registry.latest(name)
    if named.family != "classifier":
        message = f"{named} is a {named.family}: name a model of family classifier"
        field = ("evaluation", "extractor")
        raise SpecInvalid([Problem(submission.spec.name, None, field, message)])
    return named


def _extractor(
    submission: Submission, session: Session, named: ModelVersion | None
) -> ModelVersion:
    """The classifier that figures are taken under; trained now if the dataset has none yet."""
    if named is not None:
        return named
    if submission.dataset is None:
        raise DataError(f"{submission.id} has no dataset to be judged on", "Name evaluation.data")
    manifest = submission.dataset.manifest
    name = f"{manifest.name[:30]}-extractor"
    settings = {"name": name, "registry.model": name, "data.dataset": submission.dataset.reference}
    spec = load(EXTRACTOR_SPEC, [f"{path}={value}" for path, value in settings.items()])
    assert isinstance(spec, Train)
    recipe = recipe_digest(spec, manifest.digest)
    for version in reversed(session.registry.versions(name)):
        if version.recipe == recipe:
            return version
    session.reporter.say(f"{manifest.name} has no extractor yet: training {name}")
    outcome = execute(prepare(spec, session), session, wait=True)
    return session.registry.resolve(outcome["model"])
