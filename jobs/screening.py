"""What the samples of a generation are screened with, and what came of it."""

from __future__ import annotations

import math
from contextlib import suppress

from aigc.data.catalog import Dataset, find, list_versions
from aigc.errors import DataError
from aigc.generation import plan as planned
from aigc.generation.scores import FINGERPRINT
from aigc.generation.selection import Selection
from cluster.candidates import MemoryRequest, remember
from cluster.lineage import plan_of
from cluster.logs import logged
from cluster.places import Mapper
from cluster.tasks import each
from jobs.spec import Generate
from jobs.submission import Attempt


def prepare_screening(attempt: Attempt, spec: Generate, place: Mapper) -> planned.Screening | None:
    """Write down what the model was trained on, and name the nights that are not to be repeated.

    What is pinned in the plan; None where nothing is screened.
    """
    if spec.screening is None:
        return None
    return planned.Screening(
        memory=_remembered(attempt, place) if spec.screening.memorisation else None,
        earlier=_earlier(attempt, spec, spec.screening.nights),
        budget=math.ceil(spec.screening.budget * spec.count),
    )


def trained_on(attempt: Attempt) -> list[Dataset]:
    """The datasets that the model has learned from, whatever it is judged against: first its own,
    then what was mixed in, by name. Raises DatasetNotFound."""
    origin, datasets = attempt.model.trained_on, attempt.session.workspace.datasets
    return [find(datasets, each) for each in (origin["dataset"], *sorted(origin["mixture"]))]


def screening_figures(count: int, selection: Selection) -> dict[str, float]:
    """`rejected`, and of it `copied` and `repeated`: shares of the candidates. `missing`: share of
    the `count` planned samples that the budget did not suffice for."""
    reasons, made = selection.reasons, selection.made
    return {
        "rejected": len(selection.rejected) / made,
        "copied": reasons.get("copied", 0) / made,
        "repeated": reasons.get("repeated", 0) / made,
        "missing": 1 - selection.accepted / count,
    }


def _remembered(attempt: Attempt, place: Mapper) -> str:
    datasets = attempt.session.workspace.datasets
    references = [dataset.reference for dataset in trained_on(attempt)]
    request = MemoryRequest(datasets, references, attempt.run.memory)
    one = attempt.spec.resources.model_copy(update={"workers": 1})
    return next(place.map(logged(each(remember), attempt.run.logs, "generation"), [request], one))


def _earlier(attempt: Attempt, spec: Generate, nights: int) -> tuple[str, ...]:
    """The last datasets of the same name that were screened, but for those of the same seeds: they
    are the same samples, made by other code or from another model."""
    versions = list_versions(attempt.session.workspace.datasets, spec.publish.dataset)
    screened = [each for each in versions if FINGERPRINT in each.manifest.columns]
    others = [each for each in screened if not _has_seeds_of(each, spec)]
    return tuple(each.reference for each in others[-nights:] if nights)


def _has_seeds_of(dataset: Dataset, spec: Generate) -> bool:
    """Whether it is known to have them."""
    with suppress(DataError):
        plan = plan_of(dataset)
        return plan is not None and (plan.seed, plan.due) == (spec.seed, spec.due)
    return False
