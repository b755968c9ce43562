"""A train job with `tune`: many trainings, of which the best one is registered.

A trial is a submission of its own, with a run folder and an MLflow run below that of the search:
it goes on from its checkpoint, and a search with a larger budget finds the same ones done.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from aigc.errors import Preempted, first_line
from aigc.metrics import METRICS, needed, parse
from cluster.beside import beside
from cluster.code import code_digest, require_same_code
from cluster.errors import JobFailed
from cluster.evaluation import Evaluation
from cluster.journal import Journal
from cluster.record import TrackedRun
from cluster.search import Search, TrialResult
from cluster.tuning import Trial, Tune, Value
from cluster.workspace import RunFolder, Workspace
from jobs.preemption import stoppable
from jobs.progress import Silent
from jobs.session import Session, open_session
from jobs.spec import Train
from jobs.submission import Attempt, Outcome, Submission, prepare
from jobs.training import register

STOP_SECONDS = 0.5
"""Between two looks whether the search is asked to stop."""

Execute = Callable[[Submission, Session, bool], Outcome]
"""`jobs.run.execute`, which comes to a search by the one path of every job, and is its own too."""


@dataclass(frozen=True)
class TrialRequest:
    """What every trial of a search is told. Plain data: it travels between processes.

    `search` is the folder of the search.
    """

    workspace: Workspace
    spec: Train
    metric: str
    search: RunFolder
    code: str = field(default_factory=code_digest)


def run_search(execute: Execute, attempt: Attempt) -> Outcome:
    """Trials until the budget is spent, and the best of them to the registry.

    Raises JobFailed when no trial ended well, and Preempted when it was asked to stop.
    """
    spec = attempt.spec
    assert isinstance(spec, Train)
    assert spec.tune is not None
    if needed(spec.evaluation.metrics):
        attempt.extractor()
    found = _search(execute, attempt, spec, spec.tune)
    attempt.tracked.attach(attempt.run.trials)
    if found.best is None:
        why = next((str(trial.error) for trial in found.trials), "none was begun")
        raise JobFailed(
            f"none of the {len(found.trials)} trials of {spec.name} ended well; the first: {why}",
            "Change tune.fields, or submit without tune to see one training fail",
        )
    failed = sum(trial.error is not None for trial in found.trials)
    counts = {"trials": len(found.trials), "failed": failed, "best": dict(found.best.values)}
    return counts | _register_best(execute, attempt, spec, found.best)


def run_trial(execute: Execute, request: TrialRequest, values: Mapping[str, Value]) -> TrialResult:
    """Train and judge with these values, in this process."""
    require_same_code(request.code)
    session = open_session(request.workspace, "here", Silent())
    name = ""
    try:
        submission = _submission(request.spec, values, session, request.search.submission)
        name = submission.id
        with _stopped_with(request.search, submission.run):
            outcome = execute(submission, session, True)
    except Preempted:
        return TrialResult(name)
    except Exception as error:
        # Whatever it is, the other trials may do without it.
        return TrialResult(name, error=first_line(error))
    return TrialResult(name, figure=outcome["evaluation"]["figures"][request.metric])


def _search(execute: Execute, attempt: Attempt, spec: Train, tune: Tune) -> Search:
    session, run = attempt.session, attempt.run
    better = METRICS[parse(tune.metric).metric].better
    journal = Journal(run.journal)

    def heard(trial: Trial) -> None:
        said = f"{tune.metric} {trial.figure:.4g}" if trial.error is None else trial.error
        session.reporter.say(f"{trial}: {said}")
        ended = sum(not each.is_open for each in search.trials)
        if trial.figure is not None and search.best is not None:
            figures = {f"tune/{tune.metric}": trial.figure, "tune/best": search.best.figure or 0.0}
            journal.report(ended, figures)

    request = TrialRequest(session.workspace, spec, tune.metric, run)
    with stoppable(run):
        search = Search(tune, better, spec.training.seed, run.trials, heard, run.stop.exists)
        trial = functools.partial(run_trial, execute, request)
        session.place.search(trial, search, spec.resources)
        journal.close()
    if any(trial.is_open for trial in search.trials):
        raise Preempted("the search stopped", "Submit the same spec again to go on")
    return search


def _register_best(execute: Execute, attempt: Attempt, spec: Train, best: Trial) -> Outcome:
    """What its training would have done, had it been asked alone."""
    session = attempt.session
    submission = _submission(spec, best.values, session, attempt.submission.id)
    done = execute(submission, replace(session, reporter=Silent()), True)
    tracked = TrackedRun(session.tracking, submission.run)
    trial = Attempt(submission, session, tracked, attempt.extractor)
    evaluation = Evaluation(**done["evaluation"])
    return register(trial, spec.registry, done["model_digest"], evaluation)


def _submission(
    spec: Train, values: Mapping[str, Value], session: Session, parent: str
) -> Submission:
    return replace(prepare(spec.trial(values), session), parent=parent)


@contextmanager
def _stopped_with(search: RunFolder, trial: RunFolder) -> Iterator[None]:
    """While the block runs, what asks the search to stop asks the trial, too."""

    def watch(halt: threading.Event) -> None:
        while not halt.wait(STOP_SECONDS):
            if search.stop.exists():
                trial.stop.touch()
                return

    with beside(watch, "stop-watcher"):
        yield
