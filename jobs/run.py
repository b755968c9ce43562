"""From a spec to its outcome: the one path that every job takes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aigc.data.files import write_text
from aigc.errors import (
    ArtifactCorrupt,
    DataError,
    FactoryError,
    Preempted,
    WorkspaceUnwritable,
    first_line,
)
from cluster.beside import beside
from cluster.contact import delivering, waiting
from cluster.errors import Cancelled, GateRefused, StoreUnavailable, TrackingUnavailable
from cluster.line import require_wanted, turn
from cluster.logs import logging_to
from cluster.record import TrackedRun
from cluster.registry import ModelVersion
from cluster.states import resumption
from cluster.submissions import newest_checkpoint
from cluster.workspace import RunFolder
from jobs.errors import Problem, SpecInvalid
from jobs.evaluation import run_evaluation
from jobs.generation import run_generation
from jobs.preemption import heed
from jobs.session import Session
from jobs.spec import Train, as_document, load
from jobs.specs import SPECS
from jobs.submission import LOGS, Attempt, Outcome, Submission, prepare
from jobs.training import recipe_digest, run_training


def _train(attempt: Attempt) -> Outcome:
    assert isinstance(attempt.spec, Train)
    if attempt.spec.tune is None:
        return run_training(attempt)
    # Seconds of imports that only a search needs.
    from jobs.tuning import run_search

    return run_search(execute, attempt)


JOBS: dict[str, Callable[[Attempt], Outcome]] = {
    "train": _train,
    "evaluate": run_evaluation,
    "generate": run_generation,
}

ERROR_TAG = "aigc.last_error"
"""The tag with the error of the last attempt that failed. It stays when a later one does well."""
ERROR_CHARACTERS = 500

log = logging.getLogger(__name__)

EXTRACTOR_SPEC = SPECS / "training" / "extractor.yaml"
"""The seeded recipe of the extractor that a dataset gets when the spec names no other."""


def execute(submission: Submission, session: Session, wait: bool = False) -> Outcome:
    """Run a submission to its end on the session's place, which is started.

    One that has ended well before is not run again; one that another process runs is an error,
    unless it is to `wait` for it. That MLflow is silent ends no job: what it is to know waits, and
    is said to. Raises what the job raises, after closing its MLflow run as FAILED, or KILLED when
    it was interrupted or asked to stop.
    """
    named = _named_extractor(submission, session)
    _say_who_promoted(submission, session)
    with submission.run.locked(wait):
        done = submission.outcome(session)
        if done is not None:
            session.reporter.say(f"{submission.id} is done already; this is its outcome")
            return done
        tracked = submission.open_run(session)
        with (
            _settling(tracked, session),
            delivering(tracked),
            _closing(submission, tracked, session),
        ):
            submission.publish_what_is_left()
            submission.describe(tracked)
            extractor = functools.partial(_extractor, submission, session, named)
            attempt = Attempt(submission, session, tracked, extractor)
            outcome = JOBS[submission.spec.kind](attempt)
            ended = submission.finish(tracked, session, outcome)
    return submission.outcome(session) or ended


@contextmanager
def in_turn(submission: Submission, session: Session, priority: int) -> Iterator[None]:
    """Wait for the submission's turn on a place that others use, and keep it. Raises Cancelled."""
    run, place = submission.run, session.place
    if not place.shared:
        yield
        return
    # Whoever lists what waits reads there what it is.
    write_text(run.spec, as_document(submission.spec))
    resources, say = submission.spec.resources, session.reporter.say
    with turn(run, resources, place, priority, say), place.slot(lambda: require_wanted(run)):
        yield


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
def _closing(submission: Submission, tracked: TrackedRun, session: Session) -> Iterator[None]:
    """Keep the driver's log, and close the run as what an error makes of it."""
    try:
        with logging_to(submission.run.logs, "driver"), _cancellable(submission.run):
            log.info("%s begins on %s", submission.id, session.place.name)
            yield
    except (Preempted, Cancelled) as error:
        _end(submission, tracked, "KILLED", error)
        raise
    except Exception as error:
        _end(submission, tracked, "FAILED", error)
        raise
    except BaseException as error:
        _end(submission, tracked, "KILLED", error)
        checkpoint = newest_checkpoint(submission.run)
        next_step = resumption(checkpoint[0] if checkpoint else None)
        session.reporter.say(
            f"stopped; {next_step}: {submission.run.command} job rerun {submission.id}"
        )
        raise


@contextmanager
def _cancellable(run: RunFolder) -> Iterator[None]:
    """Heed `aigc job cancel`, and turn what it stops into Cancelled."""
    try:
        with beside(functools.partial(heed, run), "cancellation"):
            yield
    except (Preempted, KeyboardInterrupt) as error:
        if not run.cancel.exists():
            raise
        raise Cancelled(
            f"{run.submission} was cancelled",
            f"To go on: {run.command} job rerun {run.submission}",
        ) from error


def _end(submission: Submission, tracked: TrackedRun, status: str, error: BaseException) -> None:
    """Close the run; that the disk is full must not hide why it ends."""
    with suppress(WorkspaceUnwritable):
        if status == "FAILED":
            tracked.tag({ERROR_TAG: first_line(error)[:ERROR_CHARACTERS]})
        if submission.run.logs.exists():
            tracked.attach(submission.run.logs, LOGS)
        tracked.end(status, error)


@contextmanager
def _settling(tracked: TrackedRun, session: Session) -> Iterator[None]:
    """Deliver the rest when the block ends, or say what waits, and how to deliver it."""
    try:
        yield
    finally:
        try:
            tracked.deliver()
        except FactoryError as error:
            session.reporter.say(
                f"{error.what}; {waiting(tracked)} entries wait in {tracked.folder.path} and will "
                "be delivered by the next job, or by: "
                f"{tracked.folder.command} track sync {tracked.folder.submission}"
            )


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


def _extractor(submission: Submission, session: Session, named: ModelVersion | None) -> Path:
    """The classifier that figures are taken under; trained now if the dataset has none yet, or if
    nobody can say."""
    fetched = submission.run.path / "extractor"
    if named is not None:
        session.registry.fetch(named, fetched)
        return fetched
    if submission.dataset is None:
        raise DataError(f"{submission.id} has no dataset to be judged on", "Name evaluation.data")
    manifest = submission.dataset.manifest
    name = f"{manifest.name[:30]}-extractor"
    settings = {"name": name, "registry.model": name, "data.dataset": submission.dataset.reference}
    spec = load(EXTRACTOR_SPEC, [f"{path}={value}" for path, value in settings.items()])
    assert isinstance(spec, Train)
    recipe = recipe_digest(spec, manifest.digest)
    try:
        for version in reversed(session.registry.versions(name)):
            if version.recipe == recipe:
                session.registry.fetch(version, fetched)
                return fetched
        session.reporter.say(f"{manifest.name} has no extractor yet: training {name}")
    except (TrackingUnavailable, ArtifactCorrupt) as error:
        session.reporter.say(f"{error.what}: taking this workspace's own {name}")
    own = prepare(spec, session)
    execute(own, session, wait=True)
    return own.run.model
