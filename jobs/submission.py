"""A submission: a spec with everything it refers to pinned, its id, and its outcome.

The id is made of what is asked, what it is made from, and the code that makes it, so that asking
the same twice is one submission: a finished one answers at once, a failed one is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc.data.catalog import Dataset, find, publish
from aigc.data.files import digest_of, remove, write_json, write_text
from aigc.data.manifest import MANIFEST
from aigc.data.verification import remainder, verify
from aigc.errors import DataError, FactoryError, ModelError
from cluster.aliases import CHAMPION
from cluster.champions import Champions
from cluster.code import code_digest
from cluster.environment import environment, environment_tags
from cluster.errors import CanNeverFit, CredentialsRefused, TrackingUnavailable
from cluster.places import require_fit
from cluster.record import TrackedRun, begin_run
from cluster.registry import ModelVersion
from cluster.submissions import KIND_TAG, RERUN_TAG, STEPS_TAG
from cluster.tails import whole
from cluster.workspace import RunFolder
from jobs.errors import FieldPath, SpecInvalid
from jobs.inabilities import Mixed, inabilities, unpublishable
from jobs.sections import Data
from jobs.session import Planning, Session
from jobs.source import Source
from jobs.spec import Evaluate, Generate, Spec, Train, as_document

LOGS = "logs"
"""The folder of a run's artifacts that holds its logs."""

Outcome = dict[str, Any]
"""What a submission ended with: plain data, kept in the run's folder."""


@dataclass(frozen=True)
class Submission:
    """A job handed to a place. In `spec`, datasets and models are pinned to one version.

    `dataset` is what the job trains on or is judged against, `mixed_in` what is mixed into it;
    `model` is the registered version that it uses. `parent` is the id of the search that it is a
    trial of, `rerun_of` that of the submission whose spec it was made from; `tick` the folder of
    the tick of a schedule that it is for.
    """

    spec: Spec
    run: RunFolder
    dataset: Dataset | None
    model: ModelVersion | None
    mixed_in: tuple[Dataset, ...] = ()
    parent: str | None = None
    rerun_of: str | None = None
    tick: Path | None = None

    @property
    def id(self) -> str:
        """The submission's id, which is also its idempotency key."""
        return self.run.submission

    def outcome(self, session: Planning) -> Outcome | None:
        """What it ended with, if it has ended well and what it made is still there."""
        try:
            ended: Outcome = whole(self.run.outcome)
            made_here = ended["store"] == session.tracking.store
            if made_here and ended.get("published"):
                find(session.workspace.datasets, ended["dataset"])
        except (KeyError, TypeError, DataError):
            return None
        return self._as_it_is_now(ended) if made_here else None

    def open_run(self, session: Session) -> TrackedRun:
        """Its MLflow run, made now or running again."""
        for gone in (self.run.registration, self.run.cancel, self.run.stop):
            remove(gone)
        tags = {KIND_TAG: self.spec.kind, "aigc.code": code_digest()}
        steps = _steps(self.spec)
        tags |= {STEPS_TAG: str(steps)} if steps else {}
        tags |= {RERUN_TAG: self.rerun_of} if self.rerun_of else {}
        return begin_run(session.tracking, self.id, self.spec.name, tags, self.parent)

    def publish_what_is_left(self) -> None:
        """Publish the versions of its datasets that leave out what is damaged, if there are."""
        for dataset in self.unpublished:
            publish(dataset.folder, dataset.manifest)

    @property
    def unpublished(self) -> list[Dataset]:
        """The versions of its datasets that nobody else finds yet."""
        used = [dataset for dataset in (self.dataset, *self.mixed_in) if dataset is not None]
        return [dataset for dataset in used if not (dataset.folder / MANIFEST).exists()]

    def describe(self, tracked: TrackedRun) -> None:
        """Record what is asked, what it is made from, and with."""
        write_text(self.run.spec, as_document(self.spec))
        made_with = environment()
        write_json(self.run.environment, made_with)
        tracked.tag(environment_tags(made_with))
        tracked.describe(self.spec.model_dump(mode="json"), self.run.spec)
        tracked.attach(self.run.environment)
        for dataset in (self.dataset, *self.mixed_in):
            if dataset is not None:
                tracked.use(dataset, self.spec.kind)

    def finish(self, tracked: TrackedRun, session: Session, outcome: Outcome) -> Outcome:
        """Record the outcome, and close the run. `run_id` is None as long as MLflow is silent."""
        run_id = None
        with suppress(TrackingUnavailable):
            run_id = tracked.run_id
        where = {"run_id": run_id, "store": session.tracking.store}
        ended = {"submission": self.id, **where, **outcome}
        write_json(self.run.outcome, ended)
        tracked.attach(self.run.outcome)
        tracked.attach(self.run.logs, LOGS)
        tracked.end("FINISHED")
        return ended

    def _as_it_is_now(self, ended: Outcome) -> Outcome:
        """With what has become of a registration that waited."""
        later: Outcome = whole(self.run.registration)
        if not later:
            return ended
        return {key: value for key, value in ended.items() if key != "waits"} | later


@dataclass(frozen=True)
class Attempt:
    """One try of a submission, and its MLflow run.

    `extractor` gives the folder of the model whose features the figures are taken in. It may have
    to train it, so it is called when the first figure is wanted.
    """

    submission: Submission
    session: Session
    tracked: TrackedRun
    extractor: Callable[[], Path]

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


def _steps(spec: Spec) -> int | None:
    """How many steps its journal will have: of a search, its trials. None where nobody knows."""
    if not isinstance(spec, Train):
        return None
    return spec.tune.trials if spec.tune else spec.training.steps


def prepare(spec: Spec, session: Planning, source: Source | None = None) -> Submission:
    """Pin what the spec refers to, judge whether it fits, and name the submission.

    `source` is what the spec was read from, for the places that errors name. Raises
    DatasetNotFound, ModelNotFound, NoChampion, CanNeverFit, and SpecInvalid when that model
    cannot do with that dataset what is asked.
    """
    source = source or Source(spec.name, {}, {})
    with _placed(source, ("resources", "workers"), CanNeverFit):
        require_fit(spec.resources, session.place)
    mixed_in = _mixed_in(spec, session, source)
    pinned, dataset, model = _pinned(spec, mixed_in, session, source)
    found = list(inabilities(pinned, dataset, mixed_in, model))
    found += unpublishable(pinned, session.workspace.datasets)
    if found:
        raise SpecInvalid([source.problem(path, message) for path, message in found])
    identity = digest_of([pinned.model_dump(mode="json"), code_digest()])
    run = session.workspace.run(f"{spec.name}-{identity[:10]}")
    return Submission(pinned, run, dataset, model, tuple(other for other, _ in mixed_in))


@contextmanager
def _placed(
    source: Source, path: FieldPath, kind: type[FactoryError] = FactoryError
) -> Iterator[None]:
    """Put file, line and field before what of that kind goes wrong in the block."""
    try:
        yield
    except kind as error:
        what = str(source.problem(path, error.what))
        raise type(error)(what, error.next_step) from error


def _pinned(
    spec: Spec, mixed_in: Mixed, session: Planning, source: Source
) -> tuple[Spec, Dataset | None, ModelVersion | None]:
    """The spec with its references resolved to one version each, and what they refer to."""
    dataset, model, update = None, None, dict[str, Any]()
    if not isinstance(spec, Train):
        with _placed(source, ("model",)):
            model = _resolved(spec, session)
        update["model"] = str(model)
    path, reference = _dataset_reference(spec, model)
    if reference is not None:
        with _placed(source, path):
            dataset = _found(reference, spec, session)
        if isinstance(spec, Generate):
            data = Data(dataset=dataset.reference)
            update["evaluation"] = spec.evaluation.model_copy(update={"data": data})
        else:
            pinned: dict[str, Any] = {"dataset": dataset.reference}
            if isinstance(spec, Train):
                pinned["mixture"] = {other.reference: share for other, share in mixed_in}
            update["data"] = spec.data.model_copy(update=pinned)
    return spec.model_copy(update=update), dataset, model


def _resolved(spec: Evaluate | Generate, session: Planning) -> ModelVersion:
    """The version that is named. A night goes on with the last champion that was fetched where the
    registry does not answer."""
    name, _, which = spec.model.partition("@")
    try:
        return session.registry.resolve(spec.model)
    except CredentialsRefused:
        raise
    except TrackingUnavailable as error:
        last = Champions(session.workspace).last(name)
        if not isinstance(spec, Generate) or which != CHAMPION or last is None:
            raise
        version, fetched = last
        session.reporter.say(
            f"warning: {error.what}: taking {version}, the champion that was fetched on {fetched}"
        )
        return version


def _mixed_in(spec: Spec, session: Planning, source: Source) -> Mixed:
    """The other datasets of a mixture."""
    mixture = spec.data.mixture if isinstance(spec, Train) else {}
    with _placed(source, ("data", "mixture")):
        return [(_found(name, spec, session), share) for name, share in mixture.items()]


def _found(reference: str, spec: Spec, session: Planning) -> Dataset:
    """The dataset, or what is left of it where a spec says to leave out what is damaged."""
    dataset = find(session.workspace.datasets, reference)
    if not isinstance(spec, Train) or spec.data.damaged == "refuse":
        return dataset
    session.reporter.say(f"verifying {dataset.reference}, as data.damaged asks")
    damages = verify(dataset)
    for damage in damages:
        session.reporter.say(f"quarantined: {damage}")
    kept = remainder(dataset, damages)
    if kept is not dataset:
        counts = [sum(each.manifest.splits.values()) for each in (kept, dataset)]
        session.reporter.say("{} of {} records are left".format(*counts))
    return kept


def _dataset_reference(spec: Spec, model: ModelVersion | None) -> tuple[FieldPath, str | None]:
    """What the job trains on or is judged against, and the field that says so.

    A generation is judged against what its model learned from, unless the spec says otherwise.
    """
    if not isinstance(spec, Generate):
        return ("data", "dataset"), spec.data.dataset
    remembers = spec.screening is not None and spec.screening.memorisation
    if not spec.evaluation.metrics and not remembers:
        return (), None
    if spec.evaluation.data is not None:
        return ("evaluation", "data", "dataset"), spec.evaluation.data.dataset
    field = ("evaluation", "metrics") if spec.evaluation.metrics else ("screening", "memorisation")
    return field, model.dataset if model is not None else None
