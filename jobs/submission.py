"""A submission: a spec with everything it refers to pinned, its id, and its outcome.

The id is made of what is asked, what it is made from, and the code that makes it, so that asking
the same twice is one submission: a finished one answers at once, a failed one is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aigc.data.catalog import Dataset, find
from aigc.data.files import digest_of, write_json, write_text
from aigc.data.mixture import Mixture
from aigc.data.verification import verify, without
from aigc.errors import DataError, FactoryError, ModelError
from aigc.models import FAMILIES, build
from cluster.code import code_digest
from cluster.local import LocalRay
from cluster.places import Here, Place, require_fit
from cluster.registry import ModelVersion, Registry
from cluster.tracking import TrackedRun, Tracking
from cluster.workspace import RunFolder, Workspace
from jobs.errors import FieldPath, SpecInvalid
from jobs.progress import Reporter
from jobs.source import Source
from jobs.spec import Data, Generate, Spec, Train, as_document

Outcome = dict[str, Any]
"""What a submission ended with: plain data, kept in the run's folder."""


@dataclass(frozen=True)
class Session:
    """What the jobs of one command share: the workspace, its stores, and a place to run."""

    workspace: Workspace
    place: Place
    reporter: Reporter
    tracking: Tracking
    registry: Registry


def open_session(workspace: Workspace, place: str, reporter: Reporter) -> Session:
    """A session on the place of that name, which is not started yet."""
    tracking = Tracking(workspace)
    where: Place = Here() if place == "here" else LocalRay(workspace.root / "ray")
    return Session(workspace, where, reporter, tracking, Registry(tracking))


@dataclass(frozen=True)
class Submission:
    """A job handed to a place. In `spec`, datasets and models are pinned to one version.

    `dataset` is what the job trains on or is judged against, `mixed_in` what is mixed into it;
    `model` is the registered version that it uses.
    """

    spec: Spec
    run: RunFolder
    dataset: Dataset | None
    model: ModelVersion | None
    mixed_in: tuple[Dataset, ...] = ()

    @property
    def id(self) -> str:
        """The submission's id, which is also its idempotency key."""
        return self.run.submission

    def outcome(self, session: Session) -> Outcome | None:
        """What it ended with, if it has ended well and what it made is still there."""
        try:
            ended: Outcome = json.loads(self.run.outcome.read_bytes())
            made_here = ended["store"] == digest_of(session.tracking.uri)
            if made_here and ended.get("published"):
                find(session.workspace.datasets, ended["dataset"])
        except (OSError, ValueError, KeyError, TypeError, DataError):
            return None
        return ended if made_here else None

    def open_run(self, session: Session) -> TrackedRun:
        """Its MLflow run, made now or running again."""
        tags = {"aigc.kind": self.spec.kind, "aigc.code": code_digest()}
        return session.tracking.run(self.id, self.spec.name, tags)

    def describe(self, tracked: TrackedRun) -> None:
        """Record what is asked, and what it is made from."""
        write_text(self.run.spec, as_document(self.spec))
        tracked.describe(self.spec.model_dump(mode="json"), self.run.spec)
        for dataset in (self.dataset, *self.mixed_in):
            if dataset is not None:
                tracked.use(dataset, self.spec.kind)

    def finish(self, tracked: TrackedRun, session: Session, outcome: Outcome) -> Outcome:
        """Record the outcome, and close the run."""
        where = {"run_id": tracked.run_id, "store": digest_of(session.tracking.uri)}
        ended = {"submission": self.id, **where, **outcome}
        write_json(self.run.outcome, ended)
        tracked.attach(self.run.outcome)
        tracked.end("FINISHED")
        return ended


@dataclass(frozen=True)
class Attempt:
    """One try of a submission, and its MLflow run.

    `extractor` gives the model whose features the figures are taken in. It may have to train it,
    so it is called when the first figure is wanted.
    """

    submission: Submission
    session: Session
    tracked: TrackedRun
    extractor: Callable[[], ModelVersion]

    @property
    def spec(self) -> Spec:
        """What is asked, pinned."""
        return self.submission.spec

    @property
    def run(self) -> RunFolder:
        """The submission's files."""
        return self.submission.run

    @property
    def dataset(self) -> Dataset:
        """What is trained on or judged against. Raises DataError when the job has none."""
        if self.submission.dataset is None:
            raise DataError(f"{self.submission.id} uses no dataset", "Name one as data.dataset")
        return self.submission.dataset

    @property
    def model(self) -> ModelVersion:
        """The registered version that is used. Raises ModelError when the job uses none."""
        if self.submission.model is None:
            raise ModelError(f"{self.submission.id} uses no registered model", "Name one as model")
        return self.submission.model


def prepare(spec: Spec, session: Session, source: Source | None = None) -> Submission:
    """Pin what the spec refers to, judge whether it fits, and name the submission.

    `source` is what the spec was read from, for the places that errors name. Raises
    DatasetNotFound, ModelNotFound, NoChampion, CanNeverFit, and SpecInvalid when that model
    cannot do with that dataset what is asked.
    """
    source = source or Source(spec.name, {}, {})
    with _placed(source, ("resources", "workers")):
        require_fit(spec.resources, session.place)
    pinned, dataset, model = _pinned(spec, session, source)
    mixed_in = _mixed_in(pinned, session)
    if found := list(_inabilities(pinned, dataset, mixed_in, model)):
        raise SpecInvalid([source.problem(path, message) for path, message in found])
    identity = digest_of([pinned.model_dump(mode="json"), code_digest()])
    run = session.workspace.run(f"{spec.name}-{identity[:10]}")
    return Submission(pinned, run, dataset, model, mixed_in)


@contextmanager
def _placed(source: Source, path: FieldPath) -> Iterator[None]:
    """Put file, line and field before what goes wrong in the block."""
    try:
        yield
    except FactoryError as error:
        what = str(source.problem(path, error.what))
        raise type(error)(what, error.next_step) from error


def _pinned(
    spec: Spec, session: Session, source: Source
) -> tuple[Spec, Dataset | None, ModelVersion | None]:
    """The spec with its references resolved to one version each, and what they refer to."""
    dataset, model, update = None, None, dict[str, Any]()
    if not isinstance(spec, Train):
        with _placed(source, ("model",)):
            model = session.registry.resolve(spec.model)
        update["model"] = str(model)
    path, reference = _dataset_reference(spec, model)
    if reference is not None:
        with _placed(source, path):
            dataset = find(session.workspace.datasets, reference)
            if isinstance(spec, Train) and spec.data.damaged == "quarantine":
                dataset = _undamaged(dataset, session)
        if isinstance(spec, Generate):
            data = Data(dataset=dataset.reference)
            update["evaluation"] = spec.evaluation.model_copy(update={"data": data})
        else:
            pinned: dict[str, Any] = {"dataset": dataset.reference}
            if isinstance(spec, Train):
                pinned["mixture"] = _pinned_mixture(spec, session, source)
            update["data"] = spec.data.model_copy(update=pinned)
    return spec.model_copy(update=update), dataset, model


def _pinned_mixture(spec: Train, session: Session, source: Source) -> dict[str, float]:
    with _placed(source, ("data", "mixture")):
        root = session.workspace.datasets
        return {find(root, name).reference: share for name, share in spec.data.mixture.items()}


def _mixed_in(spec: Spec, session: Session) -> tuple[Dataset, ...]:
    """The other datasets of a pinned mixture."""
    names = spec.data.mixture if isinstance(spec, Train) else ()
    return tuple(find(session.workspace.datasets, name) for name in names)


def _undamaged(dataset: Dataset, session: Session) -> Dataset:
    """The dataset, or a version of it without the row groups that cannot be read."""
    session.reporter.say(f"reading every byte of {dataset.reference}, as data.damaged asks")
    damages = verify(dataset)
    for damage in damages:
        session.reporter.say(f"quarantined: {damage}")
    return without(dataset, damages) if any(each.row_groups for each in damages) else dataset


def _dataset_reference(spec: Spec, model: ModelVersion | None) -> tuple[FieldPath, str | None]:
    """What the job trains on or is judged against, and the field that says so.

    A generation is judged against what its model learned from, unless the spec says otherwise.
    """
    if not isinstance(spec, Generate):
        return ("data", "dataset"), spec.data.dataset
    if not spec.evaluation.metrics:
        return (), None
    if spec.evaluation.data is not None:
        return ("evaluation", "data", "dataset"), spec.evaluation.data.dataset
    return ("evaluation", "metrics"), model.dataset if model is not None else None


def _inabilities(
    spec: Spec,
    dataset: Dataset | None,
    mixed_in: Sequence[Dataset],
    model: ModelVersion | None,
) -> Iterator[tuple[FieldPath, str]]:
    """What only the model and the dataset themselves show: better now than after the training."""
    asked = spec.evaluation
    if model is not None and (family := FAMILIES.get(model.family)) is not None:
        if not family.generative:
            message = f"{model} is a {model.family}, which makes no samples: name another model"
            yield ("model",), message
        elif "elbo" in asked.metrics and not family.bounded:
            message = f"must not name elbo: {model} has no bound on the likelihood"
            yield ("evaluation", "metrics"), message
    if dataset is None:
        return
    if isinstance(spec, Train):
        yield from _unreadable(spec, dataset, mixed_in)
        try:
            build(spec.model, dataset.manifest.layout, spec.training.seed)
        except ModelError as error:
            yield ("model", "family"), str(error).removesuffix(".")
    if asked.metrics and asked.extractor is None and not dataset.manifest.layout.labels:
        message = "must name a registered classifier: this dataset has no labels to train one on"
        yield ("evaluation", "extractor"), message


def _unreadable(
    spec: Train, dataset: Dataset, mixed_in: Sequence[Dataset]
) -> Iterator[tuple[FieldPath, str]]:
    """Why these datasets cannot be read in batches of that size."""
    batch, workers = spec.training.batch_size, spec.resources.workers
    others = zip(mixed_in, spec.data.mixture.values(), strict=True)
    try:
        parts = list(Mixture(dataset, *others).parts(batch))
    except DataError as error:
        yield ("data", "mixture"), str(error).removesuffix(".")
        return
    for part, count in parts:
        records = part.manifest.splits.get("train", 0)
        if count > records:
            owner = f"of {part.reference}" if mixed_in else "of the train split"
            message = (
                f"must be at most {batch * records // count}, for the {records} records {owner}"
            )
            yield ("training", "batch_size"), f"{message} (got {batch})"
    rest = dataset.manifest.splits.get("train", 0) % batch
    if not spec.data.stream.drop_last and rest % workers:
        message = f"must be true: the last batch of {rest} records has no equal part for each of "
        yield ("data", "stream", "drop_last"), f"{message}{workers} workers"
