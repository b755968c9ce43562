"""Contact sheets of the same seeds: what a new model changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from aigc.data.catalog import Dataset, find
from aigc.errors import FactoryError
from aigc.generation.plan import Plan
from aigc.models.artifact import load_model
from cluster.candidates import ModelAt
from cluster.lineage import plan_of
from cluster.logs import logged
from cluster.registry import CHAMPION, ModelVersion
from cluster.same_seeds import Seeds, SeedsRequest, make_of_seeds
from cluster.tasks import each
from cluster.training import SHEET_RECORDS
from jobs.report import Incident, Night, Sheet, contact_sheet

if TYPE_CHECKING:
    from jobs.generation import Work

GROUP = "The same seeds"

Champion = tuple[ModelVersion, Path]
"""The version, and the folder of its artifacts."""


def same_seeds(work: Work, plan: Plan, made: Dataset, nights: Sequence[Night]) -> list[Sheet]:
    """What tonight's model makes of the seeds of last night's dataset, beside what that holds, and
    what the champion makes of them where tonight's model is another one.

    Without a night before the seeds are tonight's. No night ends for want of a comparison: why
    there is none is among the incidents.
    """
    sheets, last, champion = list[Sheet](), None, None
    with tempfile.TemporaryDirectory(dir=work.attempt.run.path, prefix="champion-") as scratch:
        with _noted(work):
            last = _last(work, plan, nights)
        with _noted(work):
            champion = _champion(work, plan, Path(scratch) / "model")
        if last or champion:
            with _noted(work):
                sheets.extend(_compared(work, plan, last or made, champion))
    return sheets


@contextmanager
def _noted(work: Work) -> Iterator[None]:
    """Make an incident of an error."""
    try:
        yield
    except FactoryError as error:
        work.incidents.append(Incident("the same seeds could not be compared", error.what))


def _last(work: Work, plan: Plan, nights: Sequence[Night]) -> Dataset | None:
    """What was published last, if it is of the same layout. Raises DataError."""
    published = [night.dataset for night in nights if night.published]
    if not published:
        return None
    found = find(work.attempt.session.workspace.datasets, published[-1])
    return found if found.manifest.layout == plan.layout and plan_of(found) else None


def _champion(work: Work, plan: Plan, folder: Path) -> Champion | None:
    """The champion, fetched, if it is another model and makes content of the same layout.

    Raises TrackingUnavailable, ArtifactCorrupt.
    """
    model, registry = work.attempt.model, work.attempt.session.registry
    # A night that asked for the champion need not ask again, whoever has become it since.
    version = None if CHAMPION in model.aliases else registry.champion(model.name)
    if version is None:
        return None
    registry.fetch(version, folder)
    return (version, folder) if load_model(folder).model.layout == plan.layout else None


def _compared(work: Work, plan: Plan, base: Dataset, champion: Champion | None) -> Iterator[Sheet]:
    seeds, stored = Seeds.of(base, SHEET_RECORDS)
    tonight = _made(work, work.attempt.run.model, plan.model.digest, seeds)
    yield _sheet(plan, "Tonight", f"{plan.model} from the seeds of {base.reference}", tonight)
    before = plan_of(base)
    if before is not None and before.digest != plan.digest:
        same = ", the same model" if before.model == plan.model else ""
        yield _sheet(plan, "Last night", f"{before.model}{same}: what was published", stored)
    if champion is not None:
        version, folder = champion
        made = _made(work, folder, version.digest, seeds)
        yield _sheet(plan, "Champion", f"{version} from the same seeds", made)


def _made(work: Work, folder: Path, digest: str, seeds: Seeds) -> Tensor:
    """What one worker makes with the model in the folder."""
    one = work.spec.resources.model_copy(update={"workers": 1})
    request = SeedsRequest(ModelAt(folder, digest, one.use_gpu), seeds)
    task = logged(each(make_of_seeds), work.attempt.run.logs, "generation")
    return next(work.place.map(task, [request], one))


def _sheet(plan: Plan, title: str, caption: str, stored: Tensor) -> Sheet:
    return contact_sheet(stored, plan.layout, title, caption, GROUP)
