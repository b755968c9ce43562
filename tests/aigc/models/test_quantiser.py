from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.models.quantiser import Quantiser, WordsConfig, perplexity
from aigc.models.tokens import WordTokens
from aigc.seeding import Draws

SMALL = WordsConfig(count=32, code_size=4, width=16)


def built(layout: Layout) -> Quantiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Quantiser(SMALL, layout)


def images(digits: Dataset, split: str) -> Tensor:
    return modality("image").decode(digits.records(split).stored)


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> Quantiser:
    """200 steps on the digits."""
    model, records = built(digits.manifest.layout), images(digits, "train")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    source = torch.Generator().manual_seed(0)
    for _ in range(200):
        rows = torch.randint(len(records), (64,), generator=source)
        optimizer.zero_grad()
        model.losses(records[rows])["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def test_words_say_more_of_a_digit_than_the_mean_does(trained: Quantiser, digits: Dataset) -> None:
    held_out = images(digits, "test")
    error = (trained.decode(trained.encode(held_out)) - held_out).square().mean()
    assert error < 0.5 * (held_out - images(digits, "train").mean(0)).square().mean()


def test_more_than_a_quarter_of_the_words_are_used(trained: Quantiser, digits: Dataset) -> None:
    assert len(trained.encode(images(digits, "test")).unique()) > SMALL.count / 4


def test_words_are_tokens_of_a_grid_row_by_row(trained: Quantiser, digits: Dataset) -> None:
    tokens, held_out = WordTokens(digits.manifest.layout, SMALL), images(digits, "test")[:20]
    tokens.quantiser.load_state_dict(trained.state_dict())
    encoded = tokens.encode(held_out, Draws(0, 0))
    height, width = trained.grid
    there = trained.encode(held_out)[:, 1, 2]

    assert tokens.is_grid
    assert (tokens.vocabulary, tokens.length) == (SMALL.count, height * width)
    assert torch.equal(encoded[:, width + 2], there)
    assert torch.equal(tokens.decode(encoded), trained.decode(trained.encode(held_out)))
    assert tokens.sizes()[encoded].sum(1).tolist() == [digits.manifest.layout.size] * 20


def test_perplexity_counts_words_that_are_equally_frequent() -> None:
    assert perplexity(torch.tensor([[3, 3], [3, 3]]), 5).item() == pytest.approx(1)
    assert perplexity(torch.tensor([[0, 1], [4, 3]]), 5).item() == pytest.approx(4)
    assert 1 < perplexity(torch.tensor([0, 0, 0, 1]), 2) < 2


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_tokens_are_a_grid_and_images_have_their_shape(shape: tuple[int, ...]) -> None:
    model = built(Layout(modality="image", shape=shape))
    records = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = model.encode(records)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (5, *model.grid)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < SMALL.count
    drawn = model.decode(tokens)
    assert drawn.shape == records.shape
    assert drawn.abs().max() <= 1


def test_the_gradient_goes_straight_through_to_the_encoder(digits: Dataset) -> None:
    model = built(digits.manifest.layout)
    model.losses(images(digits, "test")[:8])["loss"].backward()  # type: ignore[no-untyped-call]
    # All of its halves but that of the residual block whose other half is 0 at first.
    slopes = {name: each.grad for name, each in model.named_parameters() if "first" not in name}
    assert [name for name, each in slopes.items() if each is None or not each.any()] == []


def test_halves_of_a_batch_average_to_its_gradient(digits: Dataset) -> None:
    model, records = built(digits.manifest.layout), images(digits, "test")[:8]
    parameters = list(model.parameters())
    whole, left, right = (
        torch.autograd.grad(model.losses(part)["loss"], parameters)
        for part in (records, records[:4], records[4:])
    )
    for one, first, second in zip(whole, left, right, strict=True):
        torch.testing.assert_close((first + second) / 2, one, rtol=1e-4, atol=1e-5)
