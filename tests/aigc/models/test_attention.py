"""The attention family: exact likelihoods, and samples that are functions of their own noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.errors import ModalityUnsupported, ModelError
from aigc.layout import Layout
from aigc.models import build
from aigc.models.attention import Attention, AttentionConfig, SamplingConfig, pick, probabilities
from aigc.models.contract import Batch
from aigc.models.quantiser import WordsConfig
from aigc.models.transformer import Transformer, rotated, rotations
from aigc.seeding import Draws, sample_noise
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.optimizers import PhaseOptimizer
from aigc.training.state import TrainingState
from aigc.training.world import World

IMAGES = Layout(modality="image", shape=(1, 8, 8), labels=("a", "b"))
TEXT = Layout(modality="text", shape=(12,))
SMALL = AttentionConfig(width=16, depth=2, heads=2)
KINDS: list[tuple[dict[str, Any], Layout]] = [
    ({"patch": 2}, IMAGES),
    ({"levels": 8, "patch": 1}, IMAGES.model_copy(update={"shape": (3, 4, 4)})),
    ({"words": {"count": 16, "code_size": 4, "width": 8}}, IMAGES),
    ({"tokens": "bytes"}, TEXT),
    ({"tokens": "characters", "vocabulary": 20}, TEXT),
    ({"tokens": "bpe", "vocabulary": 262}, TEXT.model_copy(update={"labels": ("a", "b")})),
]
NAMES = ["patches", "levels", "words", "bytes", "characters", "bpe"]
kinds = pytest.mark.parametrize(("changes", "layout"), KINDS, ids=NAMES)
bounded = pytest.mark.parametrize(
    ("changes", "layout"),
    [each for each in KINDS if "words" not in each[0]],
    ids=[name for name in NAMES if name != "words"],
)


def built(changes: dict[str, Any], layout: Layout) -> Attention:
    """A model in evaluation mode that was prepared, and that is far from uniform."""
    model = build(AttentionConfig.model_validate(SMALL.model_dump() | changes), layout, seed=0)
    assert isinstance(model, Attention)
    model.prepare([batch(layout, 8)])
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source))
    return model.eval()


def batch(layout: Layout, rows: int) -> Batch:
    labels = torch.arange(rows) % layout.classes if layout.classes else None
    if layout.modality == "image":
        source = torch.Generator().manual_seed(1)
        return Batch(torch.rand(rows, *layout.shape, generator=source) * 2 - 1, labels)
    texts = [b"hello, you", b"how are you?", b"", b"hello"] * rows
    padded = [list(text.ljust(layout.size, b"\0")) for text in texts[:rows]]
    return Batch(torch.tensor(padded), labels)


def log_probabilities(model: Attention, tokens: Tensor, labels: Tensor | None) -> Tensor:
    """log p of every token at every position, (B, T, V), without a cache."""
    hidden = model.hidden(tokens, labels)
    return model.logits(hidden).log_softmax(2)


@kinds
def test_what_comes_later_changes_nothing_before_it(
    changes: dict[str, Any], layout: Layout
) -> None:
    model, (records, labels) = built(changes, layout), batch(layout, 2)
    tokens = model.tokens.encode(records, Draws(0, 0)).clamp(min=0)
    changed = tokens.clone()
    changed[:, 3] = (tokens[:, 3] + 1) % 3
    before, after = (log_probabilities(model, each, labels) for each in (tokens, changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)


@bounded
def test_the_likelihood_is_the_sum_over_the_tokens_up_to_the_end(
    changes: dict[str, Any], layout: Layout
) -> None:
    model, (records, labels) = built(changes, layout), batch(layout, 4)
    tokens = model.tokens.encode(records, Draws(0, 3))
    found = log_probabilities(model, tokens.clamp(min=0), labels)
    picked = found.gather(2, tokens.clamp(min=0)[..., None])[..., 0]
    expected = (picked * (tokens >= 0)).sum(1)
    torch.testing.assert_close(model.log_likelihood(records, labels, Draws(0, 3)), expected)


def test_learned_words_say_nothing_of_the_likelihood_of_pixels() -> None:
    model = built({"words": {}}, IMAGES)
    for likelihood in (model.log_likelihood, model.elbo):
        with pytest.raises(ModelError, match=r"no likelihood under learned words.*model\.words"):
            likelihood(*batch(IMAGES, 2), Draws(0, 0))


def test_words_of_text_are_refused_by_the_field() -> None:
    with pytest.raises(ModalityUnsupported, match=r"holds text.*Leave model\.words out"):
        build(AttentionConfig(words=WordsConfig()), TEXT, seed=0)


def test_words_are_learned_and_then_predicted(digits: Dataset) -> None:
    config = AttentionConfig(
        width=32, depth=2, heads=2, words=WordsConfig(count=32, code_size=4, width=16)
    )
    model = build(config, digits.manifest.layout, seed=0)
    training = TrainingConfig(steps=200, batch_size=32, seed=0, report_every=20)
    reports: list[Mapping[str, float]] = []

    def report(step: int, figures: Mapping[str, float]) -> None:
        reports.append(figures)

    stream = Stream(digits, "train", 32, training.seed)
    runtime = Runtime(World(), report, lambda state: None, lambda *_: None)
    train(TrainingState(model), stream, training, runtime)

    assert reports[2]["words/reconstruction"] < 0.5 * reports[0]["words/reconstruction"]
    assert 4 < reports[2]["words/used"] <= 32
    assert reports[-1]["tokens/nats"] < 0.75 * 16 * math.log(32)
    assert ["words/loss" in each for each in reports] == [True] * 3 + [False] * 7
    assert ["tokens/loss" in each for each in reports] == [False] * 3 + [True] * 7


def test_the_likelihoods_of_all_records_sum_to_one() -> None:
    model = built({}, Layout(modality="image", shape=(1, 4, 4)))
    pixels = torch.arange(2**16)[:, None] >> torch.arange(16) & 1
    images = (2.0 * pixels - 1).view(-1, 1, 4, 4)
    with torch.no_grad():
        likelihoods = model.log_likelihood(images, None, Draws(0, 0))
    assert likelihoods.exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_an_untrained_model_knows_next_to_nothing() -> None:
    model = build(SMALL, IMAGES, seed=0)
    assert isinstance(model, Attention)
    likelihoods = model.log_likelihood(*batch(IMAGES, 50), Draws(0, 0))
    assert likelihoods.mean().item() == pytest.approx(-64 * math.log(2), abs=1)


@kinds
def test_a_sample_is_the_same_alone_in_a_batch_and_in_another_order(
    changes: dict[str, Any], layout: Layout
) -> None:
    model, noise = built(changes, layout), sample_noise(range(7), built(changes, layout).noise_size)
    labels = torch.arange(7) % 2 if layout.classes else None
    together = model.sample(noise, labels)
    for order in ([3], [6, 5, 4, 3, 2, 1, 0], [2, 5]):
        again = model.sample(noise[order], None if labels is None else labels[order])
        # Convolutions of another number of images are rounded otherwise.
        torch.testing.assert_close(again, together[order])
    assert len(together.unique(dim=0)) > 4


@kinds
def test_sampling_with_a_cache_is_sampling_without(changes: dict[str, Any], layout: Layout) -> None:
    model = built(changes | {"sampling": {"temperature": 0.9, "top_k": 8, "top_p": 0.95}}, layout)
    noise = sample_noise(range(5), model.noise_size)
    labels = torch.arange(5) % 2 if layout.classes else None
    tokens = torch.zeros_like(noise, dtype=torch.int64)
    uniform = torch.special.ndtr(noise.double())
    with torch.no_grad():
        for place in range(model.tokens.length):
            logits = model.logits(model.hidden(tokens, labels)[:, place])
            tokens[:, place] = pick(logits, uniform[:, place], model.config.sampling)
    assert torch.equal(model.sample(noise, labels), model.tokens.decode(tokens))


@kinds
def test_samples_are_of_the_kind_that_records_are(changes: dict[str, Any], layout: Layout) -> None:
    model, labels = built(changes, layout), torch.tensor([0, 1]) if layout.classes else None
    samples = model.sample(20 * sample_noise([1, 2], model.noise_size), labels)
    assert samples.shape == (2, *layout.shape)
    assert samples.dtype == (torch.float32 if layout.modality == "image" else torch.int64)
    low, high = (-1, 1) if layout.modality == "image" else (0, 255)
    assert low <= samples.min() <= samples.max() <= high


def test_a_class_is_asked_for_where_the_model_has_classes() -> None:
    model = built({}, IMAGES)
    with pytest.raises(ModelError, match="trained on 2 classes"):
        model.sample(torch.zeros(1, model.noise_size), None)
    records = batch(IMAGES, 1).records
    first, second = (
        model.log_likelihood(records, torch.tensor([label]), Draws(0, 0)) for label in (0, 1)
    )
    assert first != second


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.1, 0.0, 0.6, 0.3]).log().expand(10_000, -1)
    uniform = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    counts = pick(logits, uniform, SamplingConfig()).bincount(minlength=4)
    assert counts.tolist() == pytest.approx([1000, 0, 6000, 3000], abs=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"top_k": 2}, [0, 0, 0.6 / 0.9, 0.3 / 0.9]),
        ({"top_k": 9}, [0.1, 0, 0.6, 0.3]),
        ({"top_p": 0.5}, [0, 0, 1, 0]),
        ({"top_p": 0.7}, [0, 0, 0.6 / 0.9, 0.3 / 0.9]),
        ({"top_p": 1.0}, [0.1, 0, 0.6, 0.3]),
        ({"temperature": 0.5}, [0.01 / 0.46, 0, 0.36 / 0.46, 0.09 / 0.46]),
    ],
)
def test_a_distribution_is_sharpened_and_cut(
    changes: dict[str, Any], expected: list[float]
) -> None:
    logits = torch.tensor([[0.1, 0.0, 0.6, 0.3]], dtype=torch.float64).log()
    found = probabilities(logits, SamplingConfig(**changes))[0]
    assert (found / found.sum()).tolist() == pytest.approx(expected)


def test_extreme_noise_never_picks_a_token_that_was_cut_off() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(2, -1)
    uniform = torch.special.ndtr(torch.tensor([-30.0, 30.0], dtype=torch.float64))
    assert pick(logits, uniform, SamplingConfig()).tolist() == [1, 2]


def test_rotary_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    queries, keys = (rotated(each.expand(20, -1), rotations(20, 8)) for each in (query, key))
    products = queries @ keys.T
    torch.testing.assert_close(products[5:, 5:], products[:-5, :-5])
    assert (products[0, 1:] - products[0, 0]).abs().min() > 1e-4


def test_blocks_are_the_identity_at_first() -> None:
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    found = Transformer(length=5, width=16, depth=3, heads=2, dropout=0)(x)
    torch.testing.assert_close(found, torch.nn.functional.rms_norm(x, (16,)))


def test_dropout_is_drawn_anew_each_step_and_not_for_likelihoods() -> None:
    model, given = built({"dropout": 0.5}, IMAGES), batch(IMAGES, 4)
    (phase,) = model.phases()
    evaluated = phase.loss(given, Draws(0, 1), 0)["nats"]
    torch.testing.assert_close(evaluated, -model.log_likelihood(*given, Draws(0, 1)).mean())
    model.train()
    trained = phase.loss(given, Draws(0, 1), 0)["nats"]
    assert trained != evaluated
    assert trained == phase.loss(given, Draws(0, 1), 0)["nats"]
    torch.testing.assert_close(evaluated, -model.log_likelihood(*given, Draws(0, 1)).mean())


@kinds
def test_workers_with_records_of_other_lengths_are_one_worker(
    changes: dict[str, Any], layout: Layout
) -> None:
    model, (records, labels) = built(changes | {"dropout": 0.3}, layout).train(), batch(layout, 4)
    phase = model.phases()[-1]

    def slopes(rows: slice, draws: Draws) -> Sequence[Tensor]:
        part = Batch(records[rows], None if labels is None else labels[rows])
        return torch.autograd.grad(phase.loss(part, draws, 0)["loss"], list(phase.parameters))

    whole = slopes(slice(4), Draws(0, 1))
    halves = (slopes(slice(2 * n, 2 * n + 2), Draws(0, 1, n, 2)) for n in range(2))
    for one, left, right in zip(whole, *halves, strict=True):
        torch.testing.assert_close((left + right) / 2, one, rtol=1e-4, atol=1e-6)


def test_dropout_leaves_the_mean_as_it_is() -> None:
    drop = Transformer(length=1, width=16, depth=1, heads=2, dropout=0.25).dropped(Draws(0, 0))
    dropped = drop(torch.ones(5000, 1, 16))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("tokens", ["bytes", "characters", "bpe"])
def test_what_it_learns_by_heart_it_says_again(tokens: str) -> None:
    model = built({"tokens": tokens, "vocabulary": 270, "width": 32}, TEXT)
    texts = Batch(batch(TEXT, 2).records[1:].repeat(8, 1), None)
    (phase,) = model.train().phases()
    optimizer = PhaseOptimizer(phase)
    for step in range(100):
        optimizer.zero_grad()
        phase.loss(texts, Draws(0, step), 0)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step((step + 0.5) / 100)
    model.eval()
    samples = model.sample(0.5 * sample_noise(range(4), model.noise_size), None)
    assert torch.equal(samples, texts.records[:4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 20, "heads": 4}, "multiple of twice the heads"),
        ({"levels": 3}, "power of two"),
        ({"levels": 4, "patch": 4}, "at most 65536"),
        ({"tokens": "bpe", "vocabulary": 256}, "above 256"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AttentionConfig(**changes)
