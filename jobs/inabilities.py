"""What a job cannot do with its model and its datasets, found out before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from aigc.data.catalog import Dataset, list_versions
from aigc.data.mixture import Mixture
from aigc.errors import DataError, ManifestInvalid, ModelError
from aigc.metrics import likelihoods, needed
from aigc.models import FAMILIES, build
from cluster.registry import ModelVersion
from jobs.errors import FieldPath
from jobs.spec import Generate, Spec, Train

Mixed = Sequence[tuple[Dataset, float]]
"""Datasets that are mixed into another one, and their shares of every batch."""


def inabilities(
    spec: Spec,
    dataset: Dataset | None,
    mixed_in: Mixed,
    model: ModelVersion | None,
) -> Iterator[tuple[FieldPath, str]]:
    """What only the model and the dataset themselves show: better now than after the training."""
    asked = spec.evaluation
    if model is not None and (family := FAMILIES.get(model.family)) is not None:
        if not family.generative:
            message = f"{model} is a {model.family}, which makes no samples: name another model"
            yield ("model",), message
        elif (names := likelihoods(asked.metrics)) and model.is_unbounded:
            message = f"must not name {', '.join(names)}: {model} has no bound on the likelihood"
            yield ("evaluation", "metrics"), message
    if isinstance(spec, Generate) and model is not None:
        yield from _beside_nothing(spec, dataset, model)
    if dataset is None:
        return
    if isinstance(spec, Train):
        yield from _unreadable(spec, dataset, mixed_in)
        try:
            build(spec.model, dataset.manifest.layout, spec.training.seed)
        except ModelError as error:
            yield ("model", "family"), str(error).removesuffix(".")
    if needed(asked.metrics) and asked.extractor is None and not dataset.manifest.layout.labels:
        message = "must name a registered classifier: this dataset has no labels to train one on"
        yield ("evaluation", "extractor"), message


def _unreadable(spec: Train, dataset: Dataset, mixed_in: Mixed) -> Iterator[tuple[FieldPath, str]]:
    """Why these datasets cannot be read in batches of that size."""
    batch, counts = spec.training.batch_size, spec.team_sizes
    references = [dataset.reference, *(other.reference for other, _ in mixed_in)]
    if twice := sorted({each for each in references if references.count(each) > 1}):
        yield ("data", "mixture"), f"must name other datasets, each once, not {twice[0]} again"
        return
    try:
        parts = list(Mixture(dataset, *mixed_in).parts(batch))
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
    uneven = [n for n in (count * spec.training.accumulate for count in counts) if rest % n]
    if not spec.data.stream.drop_last and uneven:
        message = f"must be true: the last batch of {rest} records cannot be cut into {uneven[0]} "
        yield ("data", "stream", "drop_last"), f"{message}equal parts"


def _beside_nothing(
    spec: Generate, dataset: Dataset | None, model: ModelVersion
) -> Iterator[tuple[FieldPath, str]]:
    """Gates beside figures that the model has not, which would refuse whatever it makes."""
    digest, own = dataset.manifest.digest if dataset else None, model.evaluation
    figures = own["figures"] if own is not None and own["dataset_digest"] == digest else {}
    for metric, bound in spec.gates.bounds.items():
        if bound.of_champion is not None and metric not in figures:
            where = f" on {dataset.reference}" if dataset else ""
            message = f"{model} has no {metric}{where}: evaluate it first, or drop this bound"
            yield ("gates", metric, "of_champion"), message


def unpublishable(spec: Spec, datasets: Path) -> Iterator[tuple[FieldPath, str]]:
    """Why a generation must not become a dataset of that name: the next training that asks for
    its newest version would learn from what a model has made, and not know it."""
    if not isinstance(spec, Generate):
        return
    versions = list[Dataset]()
    with suppress(ManifestInvalid):
        versions = list_versions(datasets, spec.publish.dataset)
    if others := [each.reference for each in versions if "plan" not in each.manifest.source]:
        message = f"must be a name of generated datasets only, and {others[-1]} was not generated"
        yield ("publish", "dataset"), message
