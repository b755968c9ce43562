from __future__ import annotations

import pytest
import torch
from torch import nn

from aigc.layout import Layout
from aigc.models import build
from aigc.models.contract import Batch, OptimizerConfig
from aigc.models.gan import GAN, GANConfig
from aigc.seeding import Draws

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
