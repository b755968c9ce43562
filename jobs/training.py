"""A train job: train, judge, register, and promote if the spec's gates say so."""

from __future__ import annotations

import functools
import json

from aigc.data.files import digest_of
from aigc.models import FAMILIES
from aigc.models.artifact import load_model
from cluster.card import record_of, write_card
from cluster.errors import TrackingUnavailable
from cluster.evaluation import Evaluation
from cluster.journal import Entry, following, is_report
from cluster.registry import (
    DATASET_DIGEST_TAG,
    DATASET_TAG,
    FAMILY_TAG,
    MIXTURE_TAG,
    MODEL_FOLDER,
    RECIPE_TAG,
    UNBOUNDED_TAG,
    ModelVersion,
)
from cluster.training import TrainingRequest, train_worker
from jobs.evaluation import cause_of, evaluate, record, tabulate
from jobs.preemption import stoppable
from jobs.progress import Progress
from jobs.sections import Registry
from jobs.spec import Train
from jobs.submission import Attempt, Outcome


def run_training(attempt: Attempt) -> Outcome:
    """Everything from the first step, or the last checkpoint, to the registry."""
    spec, run, tracked = attempt.spec, attempt.run, attempt.tracked
    assert isinstance(spec, Train)
    _train(attempt, spec)
    digest = load_model(run.model).digest
    tracked.attach(run.model, MODEL_FOLDER)
    evaluation = None
    if spec.evaluation.metrics:
        evaluation = evaluate(attempt, run.model, spec.evaluation.metrics)
        tracked.figures(evaluation.figures, "evaluation", spec.training.steps)
        tabulate(attempt, evaluation)
    return register(attempt, spec.registry, digest, evaluation)


def register(
    attempt: Attempt, registry: Registry | None, digest: str, evaluation: Evaluation | None
) -> Outcome:
    """Register what a training made, and let the gates decide, as `registry` asks.

    Returns what is known of the model then: its digest, its evaluation, its version, the verdict.
    Where MLflow is silent, registration and gates wait in the outbox, and `waits` says so.
    """
    outcome: Outcome = {"model_digest": digest}
    if evaluation is not None:
        outcome["evaluation"] = evaluation.as_dict()
    if registry is None:
        return outcome
    _describe(attempt, registry, evaluation)
    tags = _tags(attempt)
    try:
        attempt.tracked.settle()
        version = _registered(attempt, registry.model, digest, tags)
        outcome["model"] = str(version)
        if evaluation is not None:
            verdict = record(attempt, version, evaluation, registry.promote)
            outcome |= {"verdict": verdict.as_dict()} if verdict else {}
    except TrackingUnavailable as error:
        cause = cause_of(attempt)
        gates = registry.promote
        attempt.tracked.register_later(registry.model, digest, tags, evaluation, gates, cause)
        outcome["waits"] = f"{error.what}: the registration as {registry.model} is still to come"
    return outcome


def recipe_digest(spec: Train, dataset_digest: str) -> str:
    """What a model is made from, whatever the run and the place: the same recipe, the same model
    but for the last bits of another machine's arithmetic."""
    recipe = spec.model_dump(mode="json", include={"model", "training"})
    read = spec.data.model_dump(mode="json", include={"mixture", "stream"})
    return digest_of([recipe, read, dataset_digest])


def _train(attempt: Attempt, spec: Train) -> None:
    session, run = attempt.session, attempt.run
    request = TrainingRequest(
        session.workspace.datasets,
        attempt.dataset.reference,
        spec.model,
        spec.training,
        run,
        spec.data.stream,
        spec.data.mixture,
    )
    with session.reporter.progress(f"training {spec.name}", spec.training.steps) as progress:

        def hear(entries: list[Entry]) -> None:
            _show(entries, progress)

        with following(run.journal, hear), stoppable(run):
            session.place.train(functools.partial(train_worker, request), spec.resources)


def _show(entries: list[Entry], progress: Progress) -> None:
    """The newest losses, beside the step."""
    reports = [entry for entry in entries if is_report(entry)]
    if not reports:
        return
    newest = reports[-1]
    losses = {
        name.removesuffix("/loss"): value
        for name, value in newest["figures"].items()
        if name.endswith("/loss")
    }
    note = "  ".join(f"{phase} {value:.3g}" for phase, value in losses.items())
    progress.update(newest["step"], note)


def _describe(attempt: Attempt, registry: Registry, evaluation: Evaluation | None) -> None:
    """Put the record, the card and what MLflow serves it by beside the model's arrays."""
    # It brings pandas and a second of imports, which only a registration needs.
    from cluster.serving import write_served

    artifact, about = load_model(attempt.run.model), attempt.run.about
    spec = attempt.spec.model_dump(mode="json")
    record = record_of(
        registry.model, attempt.submission.id, artifact, spec, evaluation, registry.promote
    )
    write_card(about, record)
    if FAMILIES[record.family].generative:
        write_served(about, artifact.model.layout)
    attempt.tracked.attach(about, MODEL_FOLDER)


def _tags(attempt: Attempt) -> dict[str, str]:
    """What is known of the model by its making."""
    spec = attempt.spec
    assert isinstance(spec, Train)
    tags = {
        DATASET_TAG: attempt.dataset.reference,
        DATASET_DIGEST_TAG: attempt.dataset.manifest.digest,
        MIXTURE_TAG: json.dumps(spec.data.mixture),
        RECIPE_TAG: recipe_digest(spec, attempt.dataset.manifest.digest),
        FAMILY_TAG: spec.model.family,
    }
    if reason := FAMILIES[spec.model.family].unbounded(spec.model):
        tags[UNBOUNDED_TAG] = reason
    return tags


def _registered(attempt: Attempt, name: str, digest: str, tags: dict[str, str]) -> ModelVersion:
    versions, submission = attempt.session.registry, attempt.submission.id
    version = versions.register(name, attempt.tracked.run_id, submission, digest, tags)
    attempt.session.reporter.say(f"registered {version}")
    return version
