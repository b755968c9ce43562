"""The two networks of each game."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from aigc.layout import Layout
from aigc.models.gan_config import GANConfig
from aigc.models.layers import ConvDecoder, ConvEncoder, with_classes
from aigc.models.residual import ResidualDecoder, ResidualEncoder

HIDDEN_SIZE = 256


class Generator(nn.Module):
    """Noise (B, latent_size) and labels to images in [−1, 1]."""

    def __init__(self, decoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.decoder = decoder

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        return torch.tanh(self.decoder(with_classes(noise, labels, self.classes)))


class Discriminator(nn.Module):
    """Images and labels to logits (B,).

    `biased`: whether the logit has a bias. Where only differences of logits mean anything, its
    gradient is rounding, which Adam would turn into whole steps.
    """

    def __init__(
        self, encoder: ConvEncoder | ResidualEncoder, classes: int, biased: bool = False
    ) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = encoder
        # Convolutions alone judge strokes; this layer sees the whole image.
        self.hidden = nn.Linear(encoder.feature_size, HIDDEN_SIZE)
        self.verdict = nn.Linear(HIDDEN_SIZE, 1, bias=biased)
        # One vector a class and one for none: its inner product with the features is the verdict
        # on how well the image fits its class.
        if classes:
            self.projection = nn.Embedding(classes, HIDDEN_SIZE)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features = functional.leaky_relu(self.hidden(self.encoder(images)), 0.2)
        logits: Tensor = self.verdict(features).squeeze(1)
        if self.classes:
            logits = logits + (self.projection(labels) * features).sum(1)
        return logits


def conv_generator(config: GANConfig, layout: Layout) -> Generator:
    """Transposed convolutions with group normalisation."""
    size = config.latent_size + layout.classes
    return Generator(ConvDecoder(layout, size, config.width, config.attention), layout.classes)


def conv_discriminator(config: GANConfig, layout: Layout) -> Discriminator:
    """Strided convolutions; nothing bounds them but a penalty."""
    return Discriminator(ConvEncoder(layout, config.width, config.attention), layout.classes)


def bounded_discriminator(config: GANConfig, layout: Layout) -> Discriminator:
    """Strided convolutions, each layer's largest singular value kept at 1."""
    encoder = ConvEncoder(layout, config.width, config.attention)
    discriminator = Discriminator(encoder, layout.classes, biased=True)
    for layer in list(discriminator.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)
    return discriminator


def residual_generator(config: GANConfig, layout: Layout) -> Generator:
    """Residual blocks without normalisation."""
    size = config.latent_size + layout.classes
    return Generator(ResidualDecoder(layout, size, config.width, config.attention), layout.classes)


def residual_discriminator(config: GANConfig, layout: Layout) -> Discriminator:
    """Residual blocks without normalisation."""
    encoder = ResidualEncoder(layout, config.width, config.attention)
    discriminator = Discriminator(encoder, layout.classes)
    if layout.classes:
        # Without spectral normalisation, vectors of length 16 would drown the verdict at first.
        nn.init.normal_(discriminator.projection.weight, std=HIDDEN_SIZE**-0.5)
    return discriminator


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
