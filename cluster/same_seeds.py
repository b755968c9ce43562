"""Samples of a generated dataset, and what another model makes of the same seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from aigc.data.batches import Records, in_class_columns
from aigc.data.catalog import Dataset
from aigc.data.shards import LABEL, SAMPLE, SEED
from aigc.generation.plan import GENERATED
from aigc.generation.sampling import make_samples
from aigc.modalities import modality, stored_records
from cluster.candidates import ModelAt


@dataclass(frozen=True)
class Seeds:
    """Of some samples of a dataset their ids, their seeds, and the classes that were asked for,
    None where there are no labels. Plain data: it travels between processes."""

    samples: tuple[int, ...]
    seeds: tuple[int, ...]
    labels: tuple[int, ...] | None

    @classmethod
    def of(cls, dataset: Dataset, count: int) -> tuple[Self, Tensor]:
        """Those of `count` of the first samples, a class a column, and their stored records.

        Raises DataError where the dataset cannot be read.
        """
        layout = dataset.manifest.layout
        table = _first(dataset, 2 * count)
        labels = torch.tensor(table.column(LABEL).to_pylist()) if layout.labels else None
        numbered = Records(torch.arange(len(table)), labels)
        shown = table.take(pa.array(in_class_columns(numbered, count).stored.tolist()))
        columns = [shown.column(name).to_pylist() for name in (SAMPLE, SEED)]
        classes = tuple(shown.column(LABEL).to_pylist()) if layout.labels else None
        return cls(tuple(columns[0]), tuple(columns[1]), classes), stored_records(shown, layout)


def _first(dataset: Dataset, count: int) -> pa.Table:
    """The first rows, `count` where there are so many: enough to find some of each class."""
    layout = dataset.manifest.layout
    names = [
        modality(layout.modality).column_name,
        SAMPLE,
        SEED,
        *([LABEL] if layout.labels else []),
    ]
    batches, rows = [], 0
    for batch in dataset.read(GENERATED, names):
        batches.append(batch.slice(0, count - rows))
        rows += len(batches[-1])
        if rows == count:
            break
    return pa.Table.from_batches(batches)


@dataclass(frozen=True)
class SeedsRequest:
    """A model, and the seeds that it is to make samples of."""

    model: ModelAt
    seeds: Seeds


def make_of_seeds(request: SeedsRequest) -> Tensor:
    """The stored records (N, *shape) that the model makes. Raises ArtifactCorrupt."""
    asked = request.seeds
    classes = np.asarray(asked.labels, np.int64) if asked.labels else None
    seeds = np.asarray(asked.seeds, np.int64)
    return make_samples(request.model.load(), asked.samples, seeds, classes).stored
