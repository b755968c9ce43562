"""An evaluate job, the evaluation that other jobs ask for, and promotion by its figures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from aigc.data.catalog import Dataset
from aigc.metrics import needed
from cluster.evaluation import Evaluation, EvaluationRequest, evaluate_worker
from cluster.judgement import Gates, Verdict
from cluster.ledger import Cause, Kind
from cluster.promotion import promote
from cluster.registry import ModelVersion
from jobs.spec import Evaluate, Train
from jobs.submission import Attempt, Outcome


def run_evaluation(attempt: Attempt) -> Outcome:
    """Judge a registered version, and promote it if the spec has gates and it passes them."""
    assert isinstance(attempt.spec, Evaluate)
    attempt.session.registry.fetch(attempt.model, attempt.run.model)
    evaluation = evaluate(attempt, attempt.run.model, attempt.spec.evaluation.metrics)
    attempt.tracked.figures(evaluation.figures, "evaluation")
    verdict = record(attempt, attempt.model, evaluation, attempt.spec.promote)
    outcome: Outcome = {"model": str(attempt.model), "evaluation": evaluation.as_dict()}
    return outcome | ({"verdict": verdict.as_dict()} if verdict else {})


def evaluate(
    attempt: Attempt, model: Path, metrics: Sequence[str], generated: Dataset | None = None
) -> Evaluation:
    """Figures of the model in the folder `model`, or of the dataset that it generated.

    Metrics that look at no samples need no extractor, and none is trained for them.
    """
    folder = attempt.run.path / "extractor" if needed(metrics) else None
    if folder is not None:
        attempt.session.registry.fetch(attempt.extractor(), folder)
    request = EvaluationRequest(
        attempt.session.workspace.datasets,
        attempt.dataset.reference,
        model,
        folder,
        tuple(metrics),
        generated=generated,
    )
    attempt.session.reporter.say(f"evaluating {', '.join(request.metrics)}")
    one = attempt.spec.resources.model_copy(update={"workers": 1})
    return next(attempt.session.place.map(evaluate_worker, [request], one))


def record(
    attempt: Attempt, version: ModelVersion, evaluation: Evaluation, gates: Gates | None
) -> Verdict | None:
    """Record an evaluation with the version, and let the gates decide whether it is champion."""
    registry, submission = attempt.session.registry, attempt.submission
    registry.record(version, evaluation)
    if gates is None:
        return None
    registry.require(version, gates)
    kind: Kind = "train" if isinstance(attempt.spec, Train) else "evaluate"
    cause = Cause(kind, f"it passed the gates of {attempt.spec.name}", submission.id)
    measure = functools.partial(_measure, attempt)
    verdict = promote(registry, version, evaluation, gates, cause, measure)
    said = "is the champion now" if verdict.passed else "was not promoted"
    attempt.session.reporter.say(f"{version} {said}: {verdict}")
    return verdict


def _measure(attempt: Attempt, champion: ModelVersion, metric: str) -> dict[str, float]:
    """The champion's figure under this attempt's protocol."""
    folder = attempt.run.path / "champion"
    attempt.session.registry.fetch(champion, folder)
    return evaluate(attempt, folder, [metric]).figures
