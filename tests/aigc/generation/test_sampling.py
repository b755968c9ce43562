"""Sample i is the same bytes whoever makes it, in whatever shard, beside whatever others."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc.data.batches import Records
from aigc.data.shards import PROVENANCE
from aigc.generation.plan import BATCH, ModelReference, Plan, classes_of, sample_seeds
from aigc.generation.sampling import generated_schema, make_samples, shard_table
from aigc.layout import Layout
from aigc.models import build
from aigc.models.contract import Model
from aigc.models.gan import GANConfig
from aigc.models.vae import VAEConfig

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
COUNT = 3 * BATCH
MODELS = {
    "gan": build(GANConfig(latent_size=8, width=8), LAYOUT, seed=1).eval(),
    "article": build(GANConfig(recipe="article", width=16), LAYOUT, seed=1).eval(),
    "vae": build(VAEConfig(latent_size=4, width=8, mixture=2), LAYOUT, seed=1).eval(),
}


def made(model: Model, samples: Sequence[int]) -> Records:
    return make_samples(model, samples, sample_seeds(7, samples), classes_of(samples, model.layout))


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
    assert table.column("seed").to_pylist() == asked.seeds(range(200, 230)).tolist()
    assert table.column("label").to_pylist() == [i % 10 for i in range(200, 230)]


def test_a_sample_does_not_depend_on_the_others_of_its_batch() -> None:
    """Those that are made again stand beside whatever else was rejected."""
    scattered = [7, 3 + BATCH, 3, 2 * BATCH + 7, 11]
    for name, model in MODELS.items():
        part = made(model, scattered)
        assert torch.equal(part.stored, WHOLE[name].stored[torch.tensor(scattered)])


class Cramped(torch.nn.Module):
    """A model on a device whose memory holds so many samples at once."""

    layout, noise_size = LAYOUT, 4

    def __init__(self, room: int, broken: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.room, self.broken, self.asked = room, broken, list[int]()

    def sample(self, noise: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        self.asked.append(len(noise))
        if len(noise) > self.room:
            raise torch.OutOfMemoryError("there is no more")
        made = noise[:, :1, None, None].tanh().expand(-1, 1, 8, 8).clone()
        if self.broken:
            made[0, 0, 3, 3] = torch.nan
        return made


def test_where_memory_is_short_the_batch_is_made_in_halves() -> None:
    roomy, cramped = Cramped(1000), Cramped(70)
    wanted, halved = made(roomy, range(BATCH)), made(cramped, range(BATCH))  # type: ignore[arg-type]

    assert torch.equal(wanted.stored, halved.stored)
    assert roomy.asked == [BATCH]
    assert max(each for each in cramped.asked if each <= 70) == 63
    with pytest.raises(torch.OutOfMemoryError):
        made(Cramped(0), range(3))  # type: ignore[arg-type]


def test_what_is_no_number_is_a_blank_sample() -> None:
    records = made(Cramped(1000, broken=True), range(5))  # type: ignore[arg-type]
    assert records.stored[0].unique().tolist() == [0]
    assert records.stored[1].unique().numel() == 1
