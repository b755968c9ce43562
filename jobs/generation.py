"""A generate job: plan, screen, fill, judge, report, and publish or quarantine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aigc.data.catalog import Dataset
from aigc.errors import StorageUnavailable
from aigc.generation.plan import GENERATED, ModelReference, Plan, Screening
from aigc.metrics import needed
from aigc.models.artifact import Artifact, load_model
from cluster.attendance import Attended
from cluster.candidates import Screened
from cluster.champions import Champions
from cluster.code import code_digest
from cluster.errors import GateRefused, TrackingUnavailable
from cluster.evaluation import Evaluation
from cluster.generation import (
    Generation,
    check_samples,
    forget_candidates,
    publish_checked,
    quarantine,
)
from cluster.judgement import Gates, Verdict, judge
from cluster.meter import Meter, Usage, metered
from cluster.metered import Metered
from jobs.evaluation import evaluate, tabulate
from jobs.incidents import lost_workers
from jobs.report import Incident, Night, history, write_report
from jobs.report.history import JSON, WEEK, comparable, recent
from jobs.report.index import write_index
from jobs.report.page import HTML
from jobs.reporting import report_of
from jobs.same_seeds import same_seeds
from jobs.screening import prepare_screening, screening_figures
from jobs.spec import Generate
from jobs.submission import Attempt, Outcome


@dataclass(frozen=True)
class Judged:
    """A generated dataset that is not visible yet, and what was found out about it.

    `champion` are the figures of the model's own evaluation, `nights` the earlier nights.
    """

    dataset: Dataset
    figures: dict[str, float]
    evaluation: Evaluation | None
    champion: dict[str, float] | None
    nights: list[Night]
    verdict: Verdict


@dataclass
class Work:
    """A generation on its way: who does it, how long each part took, what went otherwise."""

    attempt: Attempt
    spec: Generate
    attendance: Attended
    driver: Meter
    seconds: dict[str, float] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = Metered(self.attendance)

    @property
    def usage(self) -> Usage:
        """Of this process and of all workers, so far."""
        return self.driver.usage + self.place.usage

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note how long the block takes."""
        started = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - started


def run_generation(attempt: Attempt) -> Outcome:
    """From the pinned model to a dataset that is published with its report, or quarantined."""
    assert isinstance(attempt.spec, Generate)
    if attempt.spec.publish.to:
        _probe(attempt, attempt.spec.publish.to)
    with metered() as driver:
        attendance = Attended(attempt.session.place, attempt.run.begun)
        work = Work(attempt, attempt.spec, attendance, driver)
        with work.timed("fetching the model"):
            _fetch(work)
            artifact = load_model(attempt.run.model)
        with work.timed("preparing the screening"):
            screening = prepare_screening(attempt, work.spec, work.place)
        plan = _plan(work, artifact, screening)
        generation = Generation.pinned(plan, attempt.session.workspace, attempt.run)
        with generation.held():
            if published := generation.published():
                attempt.session.reporter.say(f"{generation.reference} was published before")
                judged = _judge(work, published)
            else:
                judged = _made(work, artifact, generation)
            # Also of what an earlier attempt has published, and then been killed.
            write_index(attempt.session.workspace.datasets, plan.dataset)
            forget_candidates(attempt.run)
            attendance.forget()
            outcome = _outcome(generation, judged)
            published = generation.published()
            if (to := work.spec.publish.to) and published and judged.verdict.passed:
                outcome["location"] = _upload(attempt, to, published)
            return outcome


def _made(work: Work, artifact: Artifact, generation: Generation) -> Judged:
    """The dataset, judged, with its report; published, or quarantined."""
    attempt, screened = work.attempt, None
    if generation.plan.screening is not None:
        with work.timed("making and screening candidates"):
            screened = _choose(work, generation)
    with work.timed("labelling" if screened else "generating"):
        dataset = _fill(work, generation, screened)
    with work.timed("judging"):
        judged = _judge(work, dataset)
    with work.timed("comparing the same seeds"):
        compared = same_seeds(work, generation.plan, dataset, judged.nights)
    work.incidents += lost_workers(work.attendance)
    report = report_of(work, artifact, generation.plan, judged, screened, compared)
    write_report(dataset.folder, report)
    attempt.tracked.attach(dataset.folder / HTML)
    if report.economics is not None:
        attempt.tracked.figures(report.economics.figures(), "economics")
    _decide(work, judged)
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


def _fetch(work: Work) -> None:
    """The model, from the registry, or as it was kept here the last time that it was champion."""
    attempt = work.attempt
    champions = Champions(attempt.session.workspace)
    try:
        attempt.session.registry.fetch(attempt.model, attempt.run.model)
    except TrackingUnavailable as error:
        if not champions.fetch(attempt.model, attempt.run.model):
            raise
        said = f"{error.what}: {attempt.model} was taken from the copy in the workspace"
        attempt.session.reporter.say(said)
        work.incidents.append(Incident("the registry did not answer", said))
    else:
        champions.keep(attempt.model, attempt.run.model)


def _outcome(generation: Generation, judged: Judged) -> Outcome:
    return {
        "dataset": generation.reference,
        "published": generation.published() is not None,
        "report": str(generation.folder / HTML),
        "figures": judged.figures,
        "verdict": judged.verdict.as_dict(),
    }


def _judge(work: Work, dataset: Dataset) -> Judged:
    attempt, spec = work.attempt, work.spec
    figures, evaluation, champion = check_samples(dataset), None, None
    metrics = spec.evaluation.metrics
    # Of fewer samples than a figure looks at there is none, and its gate says so.
    if metrics and needed(metrics) <= dataset.manifest.splits[GENERATED]:
        evaluation = evaluate(attempt, attempt.run.model, metrics, dataset, work.place)
        figures |= evaluation.figures
        champion = attempt.model.figures_beside(evaluation)
        tabulate(attempt, evaluation)
    attempt.tracked.figures(figures, "generation")
    manifest, datasets = dataset.manifest, attempt.session.workspace.datasets
    earlier = recent(history(datasets, manifest.name, besides=manifest.version))
    nights = comparable(earlier, evaluation.as_dict() if evaluation else None)
    lately = [night.figures for night in nights if night.published][-WEEK:]
    verdict = judge(figures, _gates(spec), champion, lately)
    return Judged(dataset, figures, evaluation, champion, nights, verdict)


def _gates(spec: Generate) -> Gates:
    """What is asked, and that no sample is missing."""
    if spec.screening is None:
        return spec.gates
    return Gates.model_validate({"missing": {"at_most": 0}, **spec.gates.model_dump(mode="json")})


def _decide(work: Work, judged: Judged) -> None:
    """Publish in one step, or leave the dataset where no reader looks."""
    dataset, reporter = judged.dataset, work.attempt.session.reporter
    if judged.verdict.passed:
        publish_checked(dataset)
        reporter.say(f"published {dataset.reference}")
    else:
        quarantine(dataset, judged.verdict.as_dict())
        reporter.say(f"quarantined {dataset.reference}: {judged.verdict}")


def _plan(work: Work, artifact: Artifact, screening: Screening | None) -> Plan:
    model, spec = work.attempt.model, work.spec
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
        screening=screening,
    )


def _choose(work: Work, generation: Generation) -> Screened:
    """The samples of each shard. Raises GateRefused if there is none."""
    reporter, plan = work.attempt.session.reporter, generation.plan
    with reporter.progress(f"making candidates for {work.spec.name}", plan.count) as progress:
        screened = generation.choose(work.place, work.spec.resources, progress.update)
    selection = screened.selection
    reasons = ", ".join(f"{count} {reason}" for reason, count in selection.reasons.items())
    reporter.say(
        f"{selection.accepted} of {selection.made} candidates accepted"
        + (f"; rejected: {reasons}" if reasons else "")
    )
    if not selection.accepted:
        raise GateRefused(
            f"none of {selection.made} candidates passed the screening: {reasons}",
            f"Look at what {plan.model} makes, or change screening; nothing was made",
        )
    return screened


def _fill(work: Work, generation: Generation, screened: Screened | None) -> Dataset:
    reporter, count = work.attempt.session.reporter, generation.plan.count
    with reporter.progress(f"generating {work.spec.name}", count) as progress:
        where = work.place, work.spec.resources, progress.update
        if screened is None:
            return generation.fill(*where)
        figures = screening_figures(count, screened.selection)
        return generation.fill(*where, screened.chosen, figures)
