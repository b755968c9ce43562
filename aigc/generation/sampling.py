"""From a model and a plan to records."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

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
from aigc.seeding import sample_noise

log = logging.getLogger(__name__)


@torch.inference_mode()
def make_samples(
    model: Model,
    samples: Sequence[int],
    seed_of: Callable[[int], int],
    label_of: Callable[[int], int | None],
) -> Records:
    """The stored records of `samples`, in their order, each from its own seed.

    They are computed in whole batches, in each of which a sample has the row that its id says: the
    last bit of a matrix product may depend on where a row stands, and on how many there are, but
    not on what the others hold. What is no number becomes a blank record.
    """
    batches, places = _batches(samples)
    device = next(model.parameters()).device.type
    # On a GPU several batches at once; their order, and so the places, stay.
    count = samples_at_once(model, device, len(batches) * BATCH) // BATCH
    joined = [
        [sample for rows in batches[at : at + count] for sample in rows]
        for at in range(0, len(batches), count)
    ]
    parts = [_batch(model, rows, seed_of, label_of) for rows in joined]
    made = parts[0]
    for part in parts[1:]:
        made = made.followed_by(part)
    return made.take(torch.tensor(places))


def _batches(samples: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """The ids of as few batches as hold all samples, and where each sample stands in them.

    A row that nobody needs repeats the first sample of its batch.
    """
    used, places = Counter[int](), list[int]()
    for sample in samples:
        row = sample % BATCH
        places.append(used[row] * BATCH + row)
        used[row] += 1
    batches = [list[int]() for _ in range(max(used.values()))]
    for sample, place in zip(samples, places, strict=True):
        number = place // BATCH
        batches[number] = batches[number] or [sample] * BATCH
        batches[number][place % BATCH] = sample
    return batches, places


def _batch(
    model: Model,
    samples: Sequence[int],
    seed_of: Callable[[int], int],
    label_of: Callable[[int], int | None],
) -> Records:
    device = next(model.parameters()).device
    noise = sample_noise([seed_of(sample) for sample in samples], model.noise_size)
    classes = [label for sample in samples if (label := label_of(sample)) is not None]
    labels = torch.tensor(classes) if classes else None
    made = _sampled(model, noise.to(device), None if labels is None else labels.to(device))
    return Records(modality(model.layout.modality).encode(_finite(made)).cpu(), labels)


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
    if not made.is_floating_point():
        return made
    broken = ~made.flatten(1).isfinite().all(dim=1)
    return torch.where(broken.reshape(-1, *[1] * (made.dim() - 1)), -1.0, made)


def shard_table(model: Model, plan: Plan, samples: Sequence[int], attempt: int = 0) -> pa.Table:
    """Samples of the planned dataset, made with their seeds of that attempt, with where each is
    from."""
    seeds = {sample: plan.sample_seed(sample, attempt) for sample in samples}
    made = make_samples(model, samples, seeds.__getitem__, plan.label)
    table = table_of(made.stored, made.labels, plan.layout)
    provenance = {SAMPLE: samples, SEED: seeds.values(), ATTEMPT: [attempt] * len(samples)}
    for field in PROVENANCE:
        table = table.append_column(field, pa.array(list(provenance[field.name]), field.type))
    return table.replace_schema_metadata(generated_schema(plan.layout).metadata)


def generated_schema(layout: Layout) -> pa.Schema:
    """The columns of samples as they are made."""
    return schema(layout, PROVENANCE)
