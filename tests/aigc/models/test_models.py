"""What every family promises, held for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from aigc.errors import ModalityUnsupported
from aigc.layout import Layout
from aigc.models import FAMILIES, ModelConfig, build
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.contract import Batch, Phase
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.seeding import Draws, sample_noise

DIGITS = tuple("0123456789")
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
GENERATIVE = [
    GANConfig(width=8, latent_size=6),
    GANConfig(recipe="article", latent_size=6, pixel_weight=0.1),
    GANConfig(recipe="wgan-gp", width=8, latent_size=6, attention=True),
    GANConfig(recipe="relativistic", width=8, latent_size=6, attention=True, augment=True),
    VAEConfig(width=8, latent_size=4, mixture=2),
    VAEConfig(width=8, latent_size=4, mixture=0, decoder="gaussian"),
    AttentionConfig(width=8, depth=1, heads=2, dropout=0.1),
    AttentionConfig(width=8, depth=1, heads=2, words=WordsConfig(count=16, code_size=4, width=8)),
    VAEConfig(width=8, latent_size=4, binarise=True, free_bits=0.1),
]
EVERY = [*GENERATIVE, ClassifierConfig(width=4)]
named = partial(pytest.mark.parametrize, ids=lambda c: f"{c.family}-{getattr(c, 'recipe', '')}")


def image_layout(shape: tuple[int, ...] = (1, 8, 8), labelled: bool = True) -> Layout:
    return Layout(modality="image", shape=shape, labels=DIGITS if labelled else ())


def image_batch(layout: Layout, rows: int) -> Batch:
    source = torch.Generator().manual_seed(1)
    records = torch.rand(rows, *layout.shape, generator=source) * 2 - 1
    labels = torch.randint(10, (rows,), generator=source) if layout.classes else None
    return Batch(records, labels)


def gradients(phase: Phase, batch: Batch, draws: Draws) -> Sequence[Tensor]:
    loss = phase.loss(batch, draws, 0.5)["loss"]
    # A gradient penalty does not depend on every bias.
    return torch.autograd.grad(loss, list(phase.parameters), materialize_grads=True)


def descend(phase: Phase, batch: Batch) -> None:
    """One step of plain gradient descent of one phase, as the training loop takes it."""
    slopes = gradients(phase, batch, Draws(0, 0))
    with torch.no_grad():
        for parameter, slope in zip(phase.parameters, slopes, strict=True):
            parameter.sub_(0.1 * slope)


@named("config", EVERY)
def test_the_same_seed_builds_the_same_weights_and_another_does_not(config: ModelConfig) -> None:
    torch.manual_seed(11)
    first = build(config, image_layout(), seed=3).state_dict()
    torch.manual_seed(12)
    again = build(config, image_layout(), seed=3).state_dict()
    other = build(config, image_layout(), seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@named("config", EVERY)
def test_building_leaves_the_global_random_state_alone(config: ModelConfig) -> None:
    before = torch.random.get_rng_state()
    build(config, image_layout(), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


@named("config", EVERY)
def test_losses_draw_nothing_but_draws(config: ModelConfig) -> None:
    model, batch = build(config, image_layout(), seed=0).eval(), image_batch(image_layout(), 4)
    before = torch.random.get_rng_state()
    for phase in model.phases():
        first = phase.loss(batch, Draws(0, 5), 0.5)["loss"]
        assert torch.equal(first, phase.loss(batch, Draws(0, 5), 0.5)["loss"])
    assert torch.equal(before, torch.random.get_rng_state())


@named("config", EVERY)
def test_each_parameter_is_moved_by_one_optimizer(config: ModelConfig) -> None:
    model = build(config, image_layout(), seed=0)
    owners = {phase.name: phase for phase in model.phases() if phase.shares is None}
    owned = [id(parameter) for phase in owners.values() for parameter in phase.parameters]
    for phase in model.phases():
        if phase.shares is not None:
            assert list(phase.parameters) == list(owners[phase.shares].parameters)
    assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())


@named("config", EVERY)
def test_a_phase_moves_its_own_parameters_and_no_others(config: ModelConfig) -> None:
    model, batch = build(config, image_layout(), seed=0), image_batch(image_layout(), 8)
    for phase in model.phases():
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        descend(phase, batch)
        own = {id(parameter) for parameter in phase.parameters}
        for name, parameter in model.named_parameters():
            if id(parameter) not in own:
                assert torch.equal(before[name], parameter), f"{phase.name} moved {name}"
        moved = [n for n, p in model.named_parameters() if not torch.equal(before[n], p)]
        # Of residual branches only the last layer moves at first, and biases have no slope.
        assert len(moved) >= len(own) // 3


@named("config", EVERY)
def test_reported_figures_are_scalars_and_only_the_loss_has_a_gradient(config: ModelConfig) -> None:
    model, batch = build(config, image_layout(), seed=0), image_batch(image_layout(), 4)
    for phase in model.phases():
        figures = phase.loss(batch, Draws(0, 0), 0.0)
        assert all(figure.shape == () for figure in figures.values())
        assert [name for name, figure in figures.items() if figure.requires_grad] == ["loss"]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@named("config", GENERATIVE)
def test_samples_are_records(config: ModelConfig, shape: tuple[int, ...], labelled: bool) -> None:
    layout = image_layout(shape, labelled)
    model, labels = build(config, layout, seed=0), torch.tensor([0, 3, 9]) if labelled else None
    noise = sample_noise([1, 2, 3], model.noise_size)
    with torch.no_grad():
        samples = model.sample(noise * 4, labels)
    assert samples.shape == (3, *shape)
    assert samples.dtype == torch.float32
    assert samples.abs().max() <= 1


@named("config", GENERATIVE)
def test_a_sample_depends_on_its_own_noise_and_label_alone(config: ModelConfig) -> None:
    model, labels = build(config, image_layout(), seed=0).eval(), torch.tensor([0, 3, 9])
    noise = sample_noise([1, 2, 3], model.noise_size)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        samples, alone = model.sample(noise, labels), model.sample(noise[1:2], labels[1:2])
        torch.testing.assert_close(alone[0], samples[1])
        assert torch.equal(samples, model.sample(noise, labels))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(samples[0], samples[1])


@named("config", EVERY)
def test_two_workers_with_half_a_batch_each_equal_one(config: ModelConfig) -> None:
    layout = image_layout()
    model, batch = build(config, layout, seed=0).eval(), image_batch(layout, 8)
    halves = [Batch(batch.records[rows], batch.labels[rows]) for rows in (slice(4), slice(4, 8))]  # type: ignore[index]
    for phase in model.phases():
        whole = gradients(phase, batch, Draws(0, 9))
        first, second = (
            gradients(phase, half, Draws(0, 9, rank, 2)) for rank, half in enumerate(halves)
        )
        for one, left, right in zip(whole, first, second, strict=True):
            torch.testing.assert_close((left + right) / 2, one, rtol=1e-4, atol=1e-5)


def test_the_modality_must_be_one_the_family_makes() -> None:
    with pytest.raises(ModalityUnsupported, match="makes image, and this dataset holds text"):
        build(GANConfig(), Layout(modality="text", shape=(64,)), seed=0)


@named("config", [VAEConfig(), GANConfig(), AttentionConfig(), ClassifierConfig()])
def test_a_record_that_is_no_image_is_refused(config: ModelConfig) -> None:
    with pytest.raises(ModalityUnsupported):
        build(config, image_layout(shape=(784,)), seed=0)


def test_the_table_and_the_union_of_configurations_agree() -> None:
    union = get_args(get_args(ModelConfig)[0])
    assert {family.config for family in FAMILIES.values()} == set(union)
    for name, family in FAMILIES.items():
        assert family.config.model_fields["family"].default == name


@named("config", EVERY)
def test_a_configuration_survives_json(config: ModelConfig) -> None:
    written = config.model_dump_json()
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    assert adapter.validate_json(written) == config


def test_an_unknown_key_of_a_model_is_an_error() -> None:
    adapter: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
    with pytest.raises(ValidationError, match="colour"):
        adapter.validate_python({"family": "gan", "recipe": "hinge", "colour": "red"})
