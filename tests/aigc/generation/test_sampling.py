"""Sample i is the same bytes whoever makes it, in whatever shard, beside whatever others."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc.data.batches import Records
from aigc.data.shards import PROVENANCE
from aigc.generation.plan import BATCH, ModelReference, Plan
from aigc.generation.sampling import generated_schema, make_samples, shard_table
from aigc.layout import Layout
from aigc.models import build
from aigc.models.contract import Model
from aigc.models.gan import GANConfig
from aigc.models.vae import VAEConfig
from aigc.seeding import derive

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
COUNT = 3 * BATCH
MODELS = {
    "gan": build(GANConfig(latent_size=8, width=8), LAYOUT, seed=1).eval(),
    "article": build(GANConfig(recipe="article", width=16), LAYOUT, seed=1).eval(),
    "vae": build(VAEConfig(latent_size=4, width=8, mixture=2), LAYOUT, seed=1).eval(),
}


def made(model: Model, samples: range) -> Records:
    classes = model.layout.classes
    label: Callable[[int], int | None] = lambda i: i % classes if classes else None  # noqa: E731
    return make_samples(model, samples, lambda i: derive(7, "sample", i), label)


WHOLE = {name: made(model, range(COUNT)) for name, model in MODELS.items()}
RANGES = st.tuples(st.integers(0, COUNT - 1), st.integers(1, COUNT)).map(
    lambda pair: range(pair[0], min(COUNT, pair[0] + pair[1]))
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(samples=RANGES)
def test_a_sample_does_not_depend_on_the_range_asked(name: str, samples: range) -> None:
    part, whole = made(MODELS[name], samples), WHOLE[name]

    assert torch.equal(part.stored, whole.stored[samples.start : samples.stop])
    if whole.labels is None:
        assert part.labels is None
    else:
        assert part.labels is not None
        assert torch.equal(part.labels, whole.labels[samples.start : samples.stop])


@pytest.mark.parametrize(
    "samples",
    [range(1), range(BATCH - 1, BATCH + 1), range(BATCH, 2 * BATCH), range(10, 13)],
    ids=str,
)
def test_ranges_inside_and_across_batches_have_their_length(samples: range) -> None:
    part = made(MODELS["gan"], samples)

    assert len(part.stored) == len(samples)
    assert part.labels is not None
    assert part.labels.tolist() == [sample % 10 for sample in samples]


def test_samples_differ_from_each_other() -> None:
    assert len(torch.unique(WHOLE["gan"].stored.flatten(1), dim=0)) == COUNT


def test_an_unconditional_model_makes_records_without_labels() -> None:
    assert WHOLE["article"].labels is None


def plan(shard_size: int, layout: Layout = LAYOUT) -> Plan:
    reference = ModelReference(name="digits", version=1, digest="")
    return Plan(
        dataset="night",
        model=reference,
        layout=layout,
        count=230,
        seed=3,
        shard_size=shard_size,
        code="",
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_does_not_depend_on_the_size_of_the_shards(name: str) -> None:
    model = MODELS[name]

    def dataset(shard_size: int) -> pa.Table:
        asked = plan(shard_size, model.layout)
        shards = [asked.samples(shard) for shard in range(asked.shards)]
        return pa.concat_tables([shard_table(model, asked, samples) for samples in shards])

    whole = dataset(1000)
    assert whole.num_rows == 230
    assert dataset(100).equals(whole)
    assert dataset(7).equals(whole)


def test_a_shard_carries_each_samples_id_and_seed() -> None:
    asked = plan(100)
    table = shard_table(MODELS["gan"], asked, range(200, 230))

    assert table.schema == generated_schema(LAYOUT)
    assert set(PROVENANCE.names) < set(table.column_names)
    assert table.column("sample").to_pylist() == list(range(200, 230))
    assert table.column("seed").to_pylist() == [asked.sample_seed(i) for i in range(200, 230)]
    assert table.column("label").to_pylist() == [i % 10 for i in range(200, 230)]
