"""From a model and a plan to records."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import torch

from aigc.data.batches import Records
from aigc.data.shards import PROVENANCE, schema, table_of
from aigc.generation.plan import BATCH, Plan
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.models.contract import Model
from aigc.seeding import sample_noise


@torch.inference_mode()
def make_samples(
    model: Model,
    samples: range,
    seed_of: Callable[[int], int],
    label_of: Callable[[int], int | None],
) -> Records:
    """The stored records of `samples`, each from its own seed, computed in whole batches."""
    first, last = samples.start // BATCH, (samples.stop - 1) // BATCH
    made: Records | None = None
    for number in range(first, last + 1):
        batch = _batch(model, range(number * BATCH, (number + 1) * BATCH), seed_of, label_of)
        made = made.followed_by(batch) if made else batch
    assert made is not None, "a range of samples is never empty"
    start = samples.start - first * BATCH
    return made.take(slice(start, start + len(samples)))


def _batch(
    model: Model,
    samples: range,
    seed_of: Callable[[int], int],
    label_of: Callable[[int], int | None],
) -> Records:
    device = next(model.parameters()).device
    noise = sample_noise([seed_of(sample) for sample in samples], model.noise_size)
    classes = [label for sample in samples if (label := label_of(sample)) is not None]
    labels = torch.tensor(classes) if classes else None
    made = model.sample(noise.to(device), None if labels is None else labels.to(device))
    return Records(modality(model.layout.modality).encode(made).cpu(), labels)


def shard_table(model: Model, plan: Plan, samples: range) -> pa.Table:
    """A shard of the planned dataset, with its provenance columns."""
    made = make_samples(model, samples, plan.sample_seed, plan.label)
    table = table_of(made.stored, made.labels, plan.layout)
    seeds = [plan.sample_seed(sample) for sample in samples]
    columns = [*table.columns, pa.array(samples, pa.int64()), pa.array(seeds, pa.int64())]
    return pa.Table.from_arrays(columns, schema=generated_schema(plan.layout))


def generated_schema(layout: Layout) -> pa.Schema:
    """The columns of a generated dataset."""
    return schema(layout, PROVENANCE)
