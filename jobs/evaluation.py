"""An evaluate job, the evaluation that other jobs ask for, and promotion by its figures."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS as TABLES_TAG

from aigc.data.catalog import Dataset
from aigc.data.files import write_json
from aigc.metrics import needed
from cluster.errors import TrackingUnavailable
from cluster.evaluation import Evaluation, EvaluationRequest, evaluate_worker
from cluster.judgement import Gates, Verdict
from cluster.ledger import Cause, Kind
from cluster.logs import logged
from cluster.places import Mapper
from cluster.promotion import promote
from cluster.registry import ModelVersion
from cluster.tasks import each
from jobs.spec import Evaluate, Train
from jobs.submission import Attempt, Outcome


def run_evaluation(attempt: Attempt) -> Outcome:
    """Judge a registered version, and promote it if the spec has gates and it passes them."""
    assert isinstance(attempt.spec, Evaluate)
    attempt.session.registry.fetch(attempt.model, attempt.run.model)
    evaluation = evaluate(attempt, attempt.run.model, attempt.spec.evaluation.metrics)
    attempt.tracked.figures(evaluation.figures, "evaluation")
    tabulate(attempt, evaluation)
    reference, gates = str(attempt.model), attempt.spec.promote
    outcome: Outcome = {"model": reference, "evaluation": evaluation.as_dict()}
    try:
        verdict = record(attempt, attempt.model, evaluation, gates)
    except TrackingUnavailable as error:
        attempt.tracked.judge_later(reference, evaluation, gates, cause_of(attempt))
        return outcome | {"waits": f"{error.what}: the gates of {reference} are still to judge"}
    return outcome | ({"verdict": verdict.as_dict()} if verdict else {})


def evaluate(
    attempt: Attempt,
    model: Path,
    metrics: Sequence[str],
    generated: Dataset | None = None,
    place: Mapper | None = None,
) -> Evaluation:
    """Figures of the model in the folder `model`, or of the dataset that it generated, taken on the
    session's place unless another one is given.

    Metrics that look at no samples need no extractor, and none is trained for them.
    """
    folder = attempt.extractor() if needed(metrics) else None
    one = attempt.spec.resources.model_copy(update={"workers": 1})
    request = EvaluationRequest(
        attempt.session.workspace.datasets,
        attempt.dataset.reference,
        model,
        folder,
        tuple(metrics),
        generated=generated,
        use_gpu=one.use_gpu,
    )
    attempt.session.reporter.say(f"evaluating {', '.join(request.metrics)}")
    task = logged(each(evaluate_worker), attempt.run.logs, "evaluation")
    return next((place or attempt.session.place).map(task, [request], one))


def tabulate(attempt: Attempt, evaluation: Evaluation) -> None:
    """Attach the figures to the run as one of MLflow's tables, each beside its protocol.

    Not by MLflow's `log_table`, which adds the rows a second time when an attempt is repeated.
    """
    table = attempt.run.evaluation
    write_json(table, evaluation.as_table())
    attempt.tracked.attach(table)
    attempt.tracked.tag({TABLES_TAG: json.dumps([{"path": table.name, "type": "table"}])})


def record(
    attempt: Attempt, version: ModelVersion, evaluation: Evaluation, gates: Gates | None
) -> Verdict | None:
    """Record an evaluation with the version, and let the gates decide whether it is champion."""
    registry = attempt.session.registry
    registry.record(version, evaluation)
    if gates is None:
        return None
    registry.require(version, gates)
    measure = functools.partial(_measure, attempt)
    verdict = promote(registry, version, evaluation, gates, cause_of(attempt), measure)
    said = "is the champion now" if verdict.passed else "was not promoted"
    attempt.session.reporter.say(f"{version} {said}: {verdict}")
    return verdict


def cause_of(attempt: Attempt) -> Cause:
    """Why this attempt promotes what passes its gates."""
    kind: Kind = "train" if isinstance(attempt.spec, Train) else "evaluate"
    return Cause(kind, f"it passed the gates of {attempt.spec.name}", attempt.submission.id)


def _measure(attempt: Attempt, champion: ModelVersion, metric: str) -> dict[str, float]:
    """The champion's figure under this attempt's protocol."""
    folder = attempt.run.path / "champion"
    attempt.session.registry.fetch(champion, folder)
    return evaluate(attempt, folder, [metric]).figures
