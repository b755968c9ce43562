from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from aigc.layout import Layout
from aigc.models import build
from aigc.models.contract import Batch, OptimizerConfig
from aigc.models.gan import GAN, RECIPES, GANConfig
from aigc.models.residual import ResidualBlock
from aigc.models.self_attention import SelfAttention
from aigc.seeding import Draws
from aigc.training.state import TrainingState

LAYOUT = Layout(modality="image", shape=(1, 28, 28), labels=("a", "b"))


def built(config: GANConfig) -> GAN:
    model = build(config, LAYOUT, seed=0)
    assert isinstance(model, GAN)
    return model


def test_a_recipe_fills_in_what_is_not_given() -> None:
    article = GANConfig.model_validate({"recipe": "article", "width": 64})
    assert (article.latent_size, article.width, article.average_decay) == (100, 64, None)
    assert article.discriminator == OptimizerConfig(learning_rate=2e-4, beta1=0.9, beta2=0.999)
    assert GANConfig.model_validate({"recipe": "hinge"}) == GANConfig()


SHAPES = [(1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32), (1, 64, 64), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_takes_a_step_of_each_phase(
    recipe: str, classes: int, shape: tuple[int, ...]
) -> None:
    extras = {} if recipe == "article" else {"attention": True, "augment": True}
    config = GANConfig.model_validate({"recipe": recipe, "width": 8, **extras})
    layout = Layout(modality="image", shape=shape, labels=("a", "b")[:classes])
    model = build(config, layout, seed=0)
    labels = torch.tensor([0, 1, 0, 1]) if classes else None
    batch = Batch(torch.rand(4, *shape) * 2 - 1, labels)
    state = TrainingState(model)
    for phase, optimizer in zip(state.phases, state.optimizers, strict=True):
        before = [parameter.detach().clone() for parameter in phase.parameters]
        loss = phase.loss(batch, Draws(0, 0), 0.0)["loss"]
        loss.backward(inputs=list(phase.parameters))
        optimizer.step(0.5)
        assert loss.isfinite()
        assert not all(torch.equal(a, b) for a, b in zip(before, phase.parameters, strict=True))
    with torch.no_grad():
        samples = model.sample(Draws(0, 0).normal(4, model.noise_size), labels)
    assert samples.shape == (4, *shape)
    assert samples.isfinite().all()


def test_a_critic_takes_several_steps_for_one_of_the_generator() -> None:
    every = {p.name: p.every for p in built(GANConfig(recipe="wgan-gp", width=8)).phases()}
    assert every == {"discriminator": 1, "generator": 5}


def test_what_a_penalty_differentiates_twice_is_not_compiled() -> None:
    hinge = built(GANConfig(width=8))
    assert list(hinge.compilable()) == [hinge.generator, hinge.discriminator]
    for recipe in ("wgan-gp", "relativistic"):
        model = built(GANConfig.model_validate({"recipe": recipe, "width": 8}))
        assert list(model.compilable()) == [model.generator]


@pytest.mark.parametrize(
    "fields",
    [
        {"recipe": "hinge", "penalty_weight": 1.0},
        {"recipe": "wgan-gp", "penalty_every": 4},
        {"recipe": "article", "augment": True},
    ],
    ids=str,
)
def test_a_field_that_the_recipe_has_no_use_for_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"recipe|perceptrons"):
        GANConfig.model_validate(fields)


def test_a_lazy_penalty_counts_for_the_steps_between() -> None:
    batch = Batch(torch.zeros(4, 1, 28, 28), torch.tensor([0, 1, 0, 1]))
    config = GANConfig(recipe="relativistic", width=8, penalty_weight=0.5, penalty_every=8)
    penalty = built(config).phases()[1]
    figures = penalty.loss(batch, Draws(0, 0), 0.0)
    assert (penalty.name, penalty.every) == ("penalty", 8)
    torch.testing.assert_close(figures["loss"], 8 * 0.5 * (figures["r1"] + figures["r2"]))


def test_a_penalty_moves_what_the_discriminators_optimizer_remembers() -> None:
    state = TrainingState(built(GANConfig(recipe="relativistic", width=8)))
    assert state.optimizers[0] is state.optimizers[1]
    assert state.optimizers[2] is not state.optimizers[0]
    assert not any("penalty" in name for name in state.tensors())


def test_residual_blocks_begin_as_the_identity_and_keep_the_variance() -> None:
    model = built(GANConfig(recipe="relativistic"))
    blocks = [each for each in model.modules() if isinstance(each, ResidualBlock)]
    assert len(blocks) == 4
    for block in blocks:
        features = torch.randn(2, block.first.in_channels, 7, 7)
        assert torch.equal(block(features), features)
    with torch.no_grad():
        images = model.generator.decoder.blocks[:-1](torch.randn(64, 64 + 2))
    assert 0.3 < images.var().item() < 1


def test_attention_begins_switched_off_and_then_reaches_across_the_image() -> None:
    torch.manual_seed(0)
    layer, features = SelfAttention(16), torch.randn(1, 16, 6, 6)
    assert torch.equal(layer(features), features)
    layer.gate.data.fill_(1.0)
    far = features.clone()
    far[..., 5, 5] += 10
    assert not torch.allclose(layer(far)[..., 0, 0], layer(features)[..., 0, 0])


def test_attention_looks_at_14_by_14_places_of_28() -> None:
    seen: list[tuple[int, ...]] = []
    for recipe in ("hinge", "relativistic"):
        model = built(GANConfig(recipe=recipe, width=8, attention=True))
        for layer in model.modules():
            if isinstance(layer, SelfAttention):
                layer.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[2:]))
        labels = torch.tensor([0])
        model.discriminator(model.sample(torch.zeros(1, 64), labels), labels)
    assert seen == [(14, 14)] * 4


def test_the_article_networks_are_those_of_its_listing() -> None:
    model = built(GANConfig(recipe="article"))
    shapes = [tuple(value.shape) for value in model.parameters()]
    assert shapes[:4] == [(128, 100), (128,), (784, 128), (784,)]
    assert shapes[4:] == [(128, 784), (128,), (1, 128), (1,)]
    assert all(not value.any() for name, value in model.named_parameters() if "bias" in name)


def test_an_unconditional_recipe_claims_no_labels() -> None:
    assert built(GANConfig(recipe="article")).layout.classes == 0
    assert built(GANConfig(recipe="hinge", width=8)).layout.labels == ("a", "b")


def test_the_hinge_generator_heeds_the_label() -> None:
    model, noise = built(GANConfig(width=8, latent_size=4)), torch.zeros(1, 4)
    with torch.no_grad():
        a, b = model.sample(noise, torch.tensor([0])), model.sample(noise, torch.tensor([1]))
    assert not torch.equal(a, b)


def test_every_layer_of_the_hinge_discriminator_stretches_by_one_at_most() -> None:
    discriminator = built(GANConfig(width=8)).discriminator
    images, labels = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 0, 1])
    for _ in range(50):
        discriminator(images, labels)
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            weight = layer.weight.detach().flatten(1)
            assert torch.linalg.matrix_norm(weight, ord=2).item() == pytest.approx(1, abs=0.02)


def test_the_discriminator_phase_does_not_reach_into_the_generator() -> None:
    model = built(GANConfig(width=8))
    batch = Batch(torch.zeros(4, 1, 28, 28), torch.tensor([0, 1, 0, 1]))
    loss = model.phases()[0].loss(batch, Draws(0, 0), 0.0)["loss"]
    reached = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert all(slope is None for slope in reached)


def test_the_pixel_term_pulls_samples_towards_the_records() -> None:
    records = torch.ones(4, 1, 28, 28)
    batch = Batch(records, torch.zeros(4, dtype=torch.int64))
    plain, pulled = (built(GANConfig(recipe="article", pixel_weight=w)) for w in (0.0, 1.0))
    without = plain.phases()[1].loss(batch, Draws(0, 0), 0.0)["loss"]
    with_it = pulled.phases()[1].loss(batch, Draws(0, 0), 0.0)["loss"]
    samples = pulled.sample(Draws(0, 0).normal(4, 100), None)
    distance = 0.5 * (records - samples).square().sum() / 4
    torch.testing.assert_close(with_it - without, distance)


def test_accuracies_count_the_records_that_d_tells_apart() -> None:
    model = built(GANConfig(recipe="article"))
    batch = Batch(torch.zeros(8, 1, 28, 28), None)
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.zero_()
        list(model.discriminator.parameters())[-1].fill_(1.0)
    figures = model.phases()[0].loss(batch, Draws(0, 0), 0.0)
    assert figures["accuracy_real"].item() == 1.0
    assert figures["accuracy_fake"].item() == 0.0
