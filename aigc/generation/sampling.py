"""From a model and a plan to records."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from aigc.data.batches import Records
from aigc.data.shards import ATTEMPT, PROVENANCE, SAMPLE, SEED, schema, table_of
from aigc.generation.batch_size import samples_at_once
from aigc.generation.plan import BATCH, Plan
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.models.contract import Model
from aigc.seeding import Integers, sample_noise

NOISE = 2**20
"""About how many numbers are drawn at once: 4 MiB."""

log = logging.getLogger(__name__)


@torch.inference_mode()
def make_samples(
    model: Model, samples: Sequence[int], seeds: Integers, classes: Integers | None
) -> Records:
    """The stored records of `samples`, in their order, each from its own seed and of its class.

    They are computed in whole batches, in each of which a sample has the row that its id says: the
    last bit of a matrix product may depend on where a row stands, and on how many there are, but
    not on what the others hold. What is no number becomes a blank record.
    """
    batches, places = _batches(np.asarray(samples, np.int64))
    device = next(model.parameters()).device
    # On a GPU several batches at once; their order, and so the places, stay.
    count = samples_at_once(model, device.type, batches.size)
    labels = None if classes is None else torch.from_numpy(classes)
    parts: list[Tensor] = []
    # The noise of many batches takes half as long as batch by batch.
    many = max(1, NOISE // (count * max(1, model.noise_size))) * count
    for rows in np.split(batches.reshape(-1), range(many, batches.size, many)):
        noise = sample_noise(seeds[rows], model.noise_size).to(device)
        asked = None if labels is None else labels[torch.from_numpy(rows)].to(device)
        for at in range(0, len(rows), count):
            some = slice(at, at + count)
            parts.append(_batch(model, noise[some], None if asked is None else asked[some]))
    stored = torch.cat(parts)
    if not np.array_equal(places, np.arange(len(stored))):
        stored = stored[torch.from_numpy(places)]
    return Records(stored, labels)


def _batches(samples: Integers) -> tuple[Integers, Integers]:
    """Which of the samples each of as few batches holds as hold them all, (batches, BATCH), and
    where each sample stands in them, (N,).

    A row that nobody needs repeats a sample of its batch.
    """
    rows = samples % BATCH
    by_row = np.argsort(rows, kind="stable")
    ascending, counted = rows[by_row], np.arange(len(rows))
    turns = np.empty_like(rows)
    turns[by_row] = counted - np.searchsorted(ascending, ascending)
    batches = np.full((turns.max() + 1, BATCH), -1)
    batches[turns, rows] = counted
    batches = np.where(batches < 0, batches.max(axis=1, keepdims=True), batches)
    return batches, turns * BATCH + rows


def _batch(model: Model, noise: Tensor, labels: Tensor | None) -> Tensor:
    """The stored records of one batch, (BATCH, *shape)."""
    made = _sampled(model, noise, labels)
    return modality(model.layout.modality).encode(_finite(made)).cpu()


def _sampled(model: Model, noise: Tensor, labels: Tensor | None) -> Tensor:
    """What the model makes of the noise; in halves where the memory of a GPU does not hold it.

    The last bit of a sample that was made so may be another one. Raises torch.OutOfMemoryError
    when not even one sample can be made.
    """
    try:
        return model.sample(noise, labels)
    except torch.OutOfMemoryError:
        if len(noise) == 1:
            raise
    log.warning("%d samples do not fit into memory at once: making half of them", len(noise))
    half = len(noise) // 2
    parts = (slice(half), slice(half, None))
    return torch.cat(
        [_sampled(model, noise[part], None if labels is None else labels[part]) for part in parts]
    )


def _finite(made: Tensor) -> Tensor:
    """The samples, those that hold what is no number blank."""
    # A sum is no number where any of its terms is none; it may overflow where all of them are.
    if not made.is_floating_point() or math.isfinite(made.sum().item()):
        return made
    broken = ~made.flatten(1).isfinite().all(dim=1)
    return torch.where(broken.reshape(-1, *[1] * (made.dim() - 1)), -1.0, made)


def shard_table(model: Model, plan: Plan, samples: Sequence[int], attempt: int = 0) -> pa.Table:
    """Samples of the planned dataset, made with their seeds of that attempt, with where each is
    from."""
    seeds = plan.seeds(samples, attempt)
    made = make_samples(model, samples, seeds, plan.classes(samples))
    table = table_of(made.stored, made.labels, plan.layout)
    provenance = {SAMPLE: samples, SEED: seeds, ATTEMPT: np.full(len(samples), attempt)}
    for field in PROVENANCE:
        values = np.asarray(provenance[field.name])
        table = table.append_column(field, pa.array(values, field.type))
    return table.replace_schema_metadata(generated_schema(plan.layout).metadata)


def generated_schema(layout: Layout) -> pa.Schema:
    """The columns of samples as they are made."""
    return schema(layout, PROVENANCE)
