"""Generative adversarial networks (Goodfellow et al. 2014): one game, two recipes.

"hinge"    convolutions; the hinge loss with spectral normalisation of D (Miyato et al. 2018), a
           projection discriminator (Miyato & Koyama 2018) when there are labels, and a moving
           average of G.
"article"  the founding article's two perceptrons and its losses L_G and L_D, unconditional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from aigc.config import Config
from aigc.layout import Layout
from aigc.models import losses
from aigc.models.contract import Batch, Losses, Model, OptimizerConfig, Phase
from aigc.models.layers import ConvDecoder, ConvEncoder, with_classes
from aigc.seeding import Draws


class GANConfig(Config):
    """A recipe and what differs from it: a field that is not given has the recipe's value.

    `width`: channels of the first layer of D and the last of G, or the hidden units of a
    perceptron. `pixel_weight`: weight of L_G2 = ½‖x − G(z)‖² in the generator's loss.
    """

    family: Literal["gan"] = "gan"
    recipe: Literal["hinge", "article"] = "hinge"
    latent_size: int = Field(le=4096, default=64, ge=1)
    width: int = Field(le=1024, default=24, ge=8, multiple_of=8)
    generator: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, beta1=0.0, beta2=0.99)
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, beta1=0.0, beta2=0.99)
    average_decay: float | None = Field(default=0.998, gt=0, lt=1)
    pixel_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _follow_the_recipe(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        recipe = given.get("recipe")
        return {**ARTICLE, **given} if recipe == "article" else given


ARTICLE: Mapping[str, object] = MappingProxyType(
    {
        "latent_size": 100,
        "width": 128,
        "generator": OptimizerConfig(),
        "discriminator": OptimizerConfig(),
        "average_decay": None,
    }
)
"""The article's listing: z of 100, 128 hidden units, Adam(2e-4); batches of 64."""


HIDDEN_SIZE = 256


class HingeGenerator(nn.Module):
    """Noise (B, latent_size) and labels to images in [−1, 1]."""

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        super().__init__()
        self.classes = layout.classes
        self.decoder = ConvDecoder(layout, config.latent_size + layout.classes, config.width)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        return torch.tanh(self.decoder(with_classes(noise, labels, self.classes)))


class HingeDiscriminator(nn.Module):
    """Images and labels to logits (B,); each layer's largest singular value is kept at 1."""

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        super().__init__()
        self.classes = layout.classes
        self.encoder = ConvEncoder(layout, config.width)
        # Convolutions alone judge strokes; this layer sees the whole image.
        self.hidden = nn.Linear(self.encoder.feature_size, HIDDEN_SIZE)
        self.verdict = nn.Linear(HIDDEN_SIZE, 1)
        # One vector a class and one for none: its inner product with the features is the verdict
        # on how well the image fits its class.
        if self.classes:
            self.projection = nn.Embedding(self.classes, HIDDEN_SIZE)
        for layer in list(self.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features = functional.leaky_relu(self.hidden(self.encoder(images)), 0.2)
        logits: Tensor = self.verdict(features).squeeze(1)
        if self.classes:
            logits = logits + (self.projection(labels) * features).sum(1)
        return logits


class ArticleGenerator(nn.Module):
    """Noise (B, latent_size) → 128 → records in [−1, 1], as in the article's listing."""

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.latent_size, config.width),
            nn.LeakyReLU(0.2),
            nn.Linear(config.width, layout.size),
            nn.Tanh(),
            nn.Unflatten(1, layout.shape),
        )
        self.apply(glorot)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        records: Tensor = self.layers(noise)
        return records


class ArticleDiscriminator(nn.Module):
    """Records → 128 → logits (B,), as in the article's listing without its sigmoid."""

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(layout.size, config.width),
            nn.LeakyReLU(0.2),
            nn.Linear(config.width, 1),
        )
        self.apply(glorot)

    def forward(self, records: Tensor, labels: Tensor | None) -> Tensor:
        logits: Tensor = self.layers(records).squeeze(1)
        return logits


def glorot(layer: nn.Module) -> None:
    """Initialise a linear layer as Keras does: Glorot & Bengio's uniform, no bias."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


class Recipe(NamedTuple):
    """The two networks of a game and its two losses."""

    generator: Callable[[GANConfig, Layout], nn.Module]
    discriminator: Callable[[GANConfig, Layout], nn.Module]
    generator_loss: Callable[[Tensor], Tensor]
    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    conditional: bool


RECIPES = {
    "hinge": Recipe(
        HingeGenerator,
        HingeDiscriminator,
        losses.generator_hinge,
        losses.discriminator_hinge,
        conditional=True,
    ),
    "article": Recipe(
        ArticleGenerator,
        ArticleDiscriminator,
        losses.generator_loss,
        losses.discriminator_loss,
        conditional=False,
    ),
}


class GAN(Model):
    """A generator and a discriminator, each with a phase of its own.

    An unconditional recipe drops the label names from its `layout`: it cannot say which class a
    sample belongs to.
    """

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        self.recipe = RECIPES[config.recipe]
        if not self.recipe.conditional:
            layout = layout.model_copy(update={"labels": ()})
        super().__init__(layout)
        self.config = config
        self.noise_size = config.latent_size
        self.average_decay = config.average_decay
        self.generator = self.recipe.generator(config, layout)
        self.discriminator = self.recipe.discriminator(config, layout)

    def phases(self) -> Sequence[Phase]:
        """D first, on this step's fakes; then G, against the D that has just moved."""
        return [
            Phase(
                "discriminator",
                list(self.discriminator.parameters()),
                self._discriminator_loss,
                self.config.discriminator,
            ),
            Phase(
                "generator",
                list(self.generator.parameters()),
                self._generator_loss,
                self.config.generator,
            ),
        ]

    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        samples: Tensor = self.generator(noise, labels)
        return samples

    def averaged(self) -> nn.Module:
        return self.generator

    def _fakes(self, batch: Batch, draws: Draws) -> Tensor:
        """As many samples as the batch has records, with its labels."""
        noise = draws.normal(len(batch.records), self.noise_size)
        return self.sample(noise.to(batch.records.device), batch.labels)

    def _discriminator_loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        with torch.no_grad():
            fakes = self._fakes(batch, draws)
        labels = None if batch.labels is None else torch.cat([batch.labels, batch.labels])
        logits = self.discriminator(torch.cat([batch.records, fakes]), labels)
        real_logits, fake_logits = logits.chunk(2)
        return {
            "loss": self.recipe.discriminator_loss(real_logits, fake_logits),
            "accuracy_real": (real_logits.detach() > 0).float().mean(),
            "accuracy_fake": (fake_logits.detach() < 0).float().mean(),
        }

    def _generator_loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        fakes = self._fakes(batch, draws)
        loss = self.recipe.generator_loss(self.discriminator(fakes, batch.labels))
        if self.config.pixel_weight:
            loss = loss + self.config.pixel_weight * losses.pixel_loss(batch.records, fakes)
        return {"loss": loss}
