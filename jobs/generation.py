"""A generate job: plan, fill, check, report, and publish or quarantine."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aigc.data.batches import in_class_columns
from aigc.data.catalog import Dataset
from aigc.errors import StorageUnavailable
from aigc.generation.plan import GENERATED, ModelReference, Plan
from aigc.modalities import modality
from aigc.models.artifact import Artifact, load_model
from cluster.candidates import Chosen
from cluster.code import code_digest
from cluster.errors import GateRefused
from cluster.evaluation import Evaluation
from cluster.generation import Generation, check_samples, publish_checked, quarantine
from cluster.judgement import Gates, Verdict, judge
from cluster.training import SHEET_RECORDS
from jobs.evaluation import evaluate, tabulate
from jobs.report.page import (
    HTML,
    JSON,
    ModelOrigin,
    Report,
    ShardEntry,
    Sheet,
    TrainingData,
    write_report,
)
from jobs.screening import Screen, prepare_screen, screening_figures
from jobs.spec import Generate
from jobs.submission import Attempt, Outcome


@dataclass(frozen=True)
class Judged:
    """A generated dataset that is not visible yet, and what was found out about it."""

    dataset: Dataset
    figures: dict[str, float]
    evaluation: Evaluation | None
    verdict: Verdict


def run_generation(attempt: Attempt) -> Outcome:
    """From the pinned model to a dataset that is published with its report, or quarantined."""
    spec = attempt.spec
    assert isinstance(spec, Generate)
    if spec.publish.to:
        _probe(attempt, spec.publish.to)
    seconds: dict[str, float] = {}
    with _timed(seconds, "fetching the model"):
        attempt.session.registry.fetch(attempt.model, attempt.run.model)
        artifact = load_model(attempt.run.model)
    with _timed(seconds, "preparing the screen"):
        screen = prepare_screen(attempt, spec, artifact.model.layout.modality)
    plan = _plan(attempt, spec, artifact, screen)
    generation = Generation.pinned(plan, attempt.session.workspace, attempt.run)
    with generation.held():
        if published := generation.published():
            attempt.session.reporter.say(f"{generation.reference} was published before")
            judged = _judge(attempt, spec, published)
        else:
            judged = _make(attempt, spec, generation, artifact, screen, seconds)
        outcome = _outcome(generation, judged)
        published = generation.published()
        if spec.publish.to and published and judged.verdict.passed:
            outcome["location"] = _upload(attempt, spec.publish.to, published)
        return outcome


def _make(
    attempt: Attempt,
    spec: Generate,
    generation: Generation,
    artifact: Artifact,
    screen: Screen,
    seconds: dict[str, float],
) -> Judged:
    """The dataset, judged, with its report; published, or quarantined."""
    figures, chosen = dict[str, float](), list[Chosen]()
    if screen.pinned is not None:
        with _timed(seconds, "making and screening candidates"):
            figures, chosen = _choose(attempt, spec, generation, screen)
    with _timed(seconds, "writing labelled shards" if chosen else "generating"):
        dataset = _fill(attempt, spec, generation, chosen, figures)
    with _timed(seconds, "judging"):
        judged = _judge(attempt, spec, dataset)
    report = _report(attempt, artifact, generation.plan, judged, seconds)
    write_report(dataset.folder, report)
    attempt.tracked.attach(dataset.folder / HTML)
    _decide(attempt, judged)
    return judged


def _probe(attempt: Attempt, to: str) -> None:
    """Ask the store before anything is made whether it will do. Raises BucketRefused.

    One that is silent now may answer when there is something to upload.
    """
    # Its client takes a while to import, and few publish there.
    from cluster.bucket import Bucket

    try:
        Bucket(to).require_put_if_absent()
    except StorageUnavailable as error:
        attempt.session.reporter.say(f"warning: {error.what}; it is asked again when all is made")


def _upload(attempt: Attempt, to: str, dataset: Dataset) -> str:
    """Publish in the bucket what is published in the workspace; its URI there."""
    from cluster.bucket import Bucket

    bucket, reporter = Bucket(to), attempt.session.reporter
    bucket.require_put_if_absent()
    objects = len(dataset.manifest.shards) + 2
    with reporter.progress(f"publishing in {to}", objects) as progress:
        location = bucket.publish(dataset, (HTML, JSON), progress.update)
    reporter.say(f"published {location}")
    return location


def _outcome(generation: Generation, judged: Judged) -> Outcome:
    return {
        "dataset": generation.reference,
        "published": generation.published() is not None,
        "report": str(generation.folder / HTML),
        "figures": judged.figures,
        "verdict": judged.verdict.as_dict(),
    }


def _judge(attempt: Attempt, spec: Generate, dataset: Dataset) -> Judged:
    figures, evaluation = check_samples(dataset), None
    if metrics := spec.evaluation.metrics:
        evaluation = evaluate(attempt, attempt.run.model, metrics, dataset)
        figures |= evaluation.figures
        tabulate(attempt, evaluation)
    attempt.tracked.figures(figures, "generation")
    return Judged(dataset, figures, evaluation, judge(figures, _gates(spec), None))


def _gates(spec: Generate) -> Gates:
    """What is asked, and that no sample is missing."""
    if spec.screening is None:
        return spec.gates
    return Gates.model_validate({"missing": {"at_most": 0}, **spec.gates.model_dump(mode="json")})


def _decide(attempt: Attempt, judged: Judged) -> None:
    """Publish in one step, or leave the dataset where no reader looks."""
    dataset = judged.dataset
    if judged.verdict.passed:
        publish_checked(dataset)
        attempt.session.reporter.say(f"published {dataset.reference}")
    else:
        quarantine(dataset, judged.verdict.as_dict())
        attempt.session.reporter.say(f"quarantined {dataset.reference}: {judged.verdict}")


def _plan(attempt: Attempt, spec: Generate, artifact: Artifact, screen: Screen) -> Plan:
    model = attempt.model
    return Plan(
        dataset=spec.publish.dataset,
        model=ModelReference(name=model.name, version=model.version, digest=model.digest),
        layout=artifact.model.layout,
        count=spec.count,
        seed=spec.seed,
        shard_size=spec.shard_size,
        code=code_digest(),
        due=spec.due,
        producer=spec.publish.producer,
        screening=screen.pinned,
    )


def _choose(
    attempt: Attempt, spec: Generate, generation: Generation, screen: Screen
) -> tuple[dict[str, float], list[Chosen]]:
    """The samples of each shard, and the figures of the screening. Raises GateRefused if there is
    none."""
    session, count = attempt.session, generation.plan.count
    with session.reporter.progress(f"making candidates for {spec.name}", count) as progress:
        where = session.place, spec.resources, progress.update
        selection, chosen = generation.choose(screen.judges, *where)
    reasons = ", ".join(f"{count} {reason}" for reason, count in selection.reasons.items())
    session.reporter.say(
        f"{len(selection.accepted)} of {selection.made} candidates accepted"
        + (f"; rejected: {reasons}" if reasons else "")
    )
    if not selection.accepted:
        raise GateRefused(
            f"none of {selection.made} candidates passed the screening: {reasons}",
            f"Look at what {generation.plan.model} makes, or change screening; nothing was made",
        )
    return screening_figures(generation, selection), chosen


def _fill(
    attempt: Attempt,
    spec: Generate,
    generation: Generation,
    chosen: Sequence[Chosen],
    screened: Mapping[str, float],
) -> Dataset:
    session, count = attempt.session, generation.plan.count
    with session.reporter.progress(f"generating {spec.name}", count) as progress:
        where = session.place, spec.resources, progress.update
        return generation.fill(*where, chosen, screened)


def _report(
    attempt: Attempt, artifact: Artifact, plan: Plan, judged: Judged, seconds: dict[str, float]
) -> Report:
    manifest, model = judged.dataset.manifest, attempt.model
    aigc = shlex.join(["aigc", "--workspace", str(attempt.session.workspace.root)])
    return Report(
        dataset=judged.dataset.reference,
        submission=attempt.submission.id,
        created=manifest.created,
        published=judged.verdict.passed,
        verdict=judged.verdict.as_dict(),
        figures=judged.figures,
        evaluation=judged.evaluation.as_dict() if judged.evaluation else None,
        plan=plan.model_dump(mode="json"),
        model=ModelOrigin(
            name=model.name,
            version=model.version,
            digest=model.digest,
            run_id=model.run_id,
            family=model.family,
            trained_on=TrainingData(
                dataset=artifact.trained_on["dataset"], digest=artifact.trained_on["digest"]
            ),
            code=model.code,
        ),
        sheets=_sheets(attempt, judged.dataset),
        seconds=seconds,
        shards=[
            ShardEntry(
                path=shard.path, records=shard.records, bytes=shard.bytes, sha256=shard.sha256 or ""
            )
            for shard in manifest.shards
        ],
        reproduce=[
            f"{aigc} submit {attempt.run.spec} --set publish.dataset=again",
            f"{aigc} data verify {judged.dataset.reference}",
        ],
    )


def _sheets(attempt: Attempt, dataset: Dataset) -> list[Sheet]:
    """What was made, and beside it what is real."""
    made = _sheet(
        dataset, GENERATED, "Generated", "The first samples of the plan, a class a column"
    )
    if attempt.submission.dataset is None:
        return [made]
    caption = "Records that the model has never seen, a class a column"
    return [made, _sheet(attempt.dataset, "test", "Held-out data", caption)]


def _sheet(dataset: Dataset, split: str, title: str, caption: str) -> Sheet:
    layout = dataset.manifest.layout
    records = in_class_columns(dataset.records(split), SHEET_RECORDS)
    picture = modality(layout.modality).sheet(records.stored)
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    return Sheet(title, caption, png.getvalue(), picture.width, picture.height)


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[what] = time.monotonic() - started
