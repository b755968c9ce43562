"""An evaluate job, the evaluation that other jobs ask for, and promotion by its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aigc.data.catalog import Dataset
from aigc.metrics import needed
from cluster.errors import TrackingUnavailable
from cluster.evaluation import Evaluation, EvaluationRequest, evaluate_worker
from cluster.judgement import Gates, Verdict, judge
from cluster.registry import ModelVersion
from jobs.spec import Evaluate
from jobs.submission import Attempt, Outcome


def run_evaluation(attempt: Attempt) -> Outcome:
    """Judge a registered version, and promote it if the spec has gates and it passes them."""
    assert isinstance(attempt.spec, Evaluate)
    attempt.session.registry.fetch(attempt.model, attempt.run.model)
    evaluation = evaluate(attempt, attempt.run.model, attempt.spec.evaluation.metrics)
    attempt.tracked.figures(evaluation.figures, "evaluation")
    reference, gates = str(attempt.model), attempt.spec.promote
    outcome: Outcome = {"model": reference, "evaluation": evaluation.as_dict()}
    try:
        verdict = record(attempt, attempt.model, evaluation, gates)
    except TrackingUnavailable as error:
        attempt.tracked.judge_later(reference, evaluation, gates)
        return outcome | {"waits": f"{error.what}: the gates of {reference} are still to judge"}
    return outcome | ({"verdict": verdict.as_dict()} if verdict else {})


def evaluate(
    attempt: Attempt, model: Path, metrics: Sequence[str], generated: Dataset | None = None
) -> Evaluation:
    """Figures of the model in the folder `model`, or of the dataset that it generated.

    Metrics that look at no samples need no extractor, and none is trained for them.
    """
    folder = attempt.extractor() if needed(metrics) else None
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
    registry = attempt.session.registry
    registry.record(version, evaluation)
    if gates is None:
        return None
    verdict = judge(evaluation.figures, gates, _rival(attempt, version, evaluation, gates))
    registry.promote(version, verdict)
    said = "is the champion now" if verdict.passed else "was not promoted"
    attempt.session.reporter.say(f"{version} {said}: {verdict}")
    return verdict


def _rival(
    attempt: Attempt, version: ModelVersion, evaluation: Evaluation, gates: Gates
) -> dict[str, float] | None:
    """The champion's figures on the same data under the same extractor, taken now if need be.

    None when nobody else is champion, or no gate compares.
    """
    metric = gates.better_than_champion
    champion = attempt.session.registry.champion(version.name)
    if metric is None or champion is None or champion.version == version.version:
        return None
    recorded = champion.figures_beside(evaluation)
    if recorded is not None and metric in recorded:
        return recorded
    folder = attempt.run.path / "champion"
    attempt.session.registry.fetch(champion, folder)
    return evaluate(attempt, folder, [metric]).figures
