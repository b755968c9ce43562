"""Images as a grid of words: the VQ-VAE (van den Oord et al. 2017) with factorised codes.

The encoder's features are projected to a few dimensions and compared on the unit sphere, so that
most of the codebook is used (ViT-VQGAN, Yu et al. 2022). The codebook learns by gradients, not
from moving averages, whose statistics would depend on how a batch is split over workers.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from aigc.config import Config
from aigc.layout import Layout
from aigc.models.contract import Losses, OptimizerConfig
from aigc.models.layers import halvings
from aigc.models.residual import ResidualBlock


class WordsConfig(Config):
    """How many words there are, the dimensions they are compared in, and the networks' width.

    `commitment` weighs how far the encoder is drawn to its words (β of the paper). The words are
    learned in the first `share` of the training by an `optimizer` of their own, and stay.
    """

    count: int = Field(default=256, ge=2, le=65_536)
    code_size: int = Field(default=4, ge=2, le=256)
    width: int = Field(default=32, ge=4, le=1024)
    commitment: float = Field(default=0.25, gt=0)
    share: float = Field(default=0.3, gt=0, lt=1)
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=3e-3, beta2=0.98, schedule="cosine", warm_up=0.02
    )


class Quantised(NamedTuple):
    """Features as words: int64 tokens (B, h, w) and the unit codes (B, h, w, code_size).

    `features` are the unit codes before they became words.
    """

    tokens: Tensor
    codes: Tensor
    features: Tensor


class Quantiser(nn.Module):
    """Images in [−1, 1], (B, *layout.shape), to tokens (B, h, w) in 0 … count − 1, and back.

    Raises ModalityUnsupported for what is no image, or cannot be halved as often as it must.
    """

    def __init__(self, config: WordsConfig, layout: Layout) -> None:
        super().__init__()
        self.config = config
        count, width = halvings(layout), config.width
        self.grid = (layout.shape[1] >> count, layout.shape[2] >> count)
        widths = [layout.shape[0], *([width] * count)]
        self.encoder = nn.Sequential(
            *itertools.chain.from_iterable(map(_halved, widths, widths[1:])),
            ResidualBlock(width, branches=1),
            nn.Conv2d(width, config.code_size, 1),
        )
        self.words = nn.Parameter(torch.randn(config.count, config.code_size))
        self.decoder = nn.Sequential(
            nn.Conv2d(config.code_size, width, 1),
            ResidualBlock(width, branches=1),
            *itertools.chain.from_iterable(_doubled(width) for _ in range(count)),
            # No tanh: where most pixels are black it is saturated before anything is learned.
            nn.Conv2d(width, layout.shape[0], 3, padding=1),
        )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The word of each place, int64 (B, h, w)."""
        return self._quantised(images).tokens

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """The images in [−1, 1] that tokens (B, h, w) stand for."""
        return self._drawn(functional.normalize(self.words, dim=1)[tokens]).clamp(-1, 1)

    def losses(self, images: Tensor) -> Losses:
        """The loss, and beside it its parts: means over the records.

        Squared errors are summed over a record, of its pixels and of its codes. The decoder's
        gradient goes straight through the choice of words. `used` is the perplexity of the words
        of these images: how many there would be if all were equally frequent.
        """
        found = self._quantised(images)
        passed = found.features + (found.codes - found.features).detach()
        reconstruction = _distance(images, self._drawn(passed))
        codebook = _distance(found.features.detach(), found.codes)
        commitment = _distance(found.features, found.codes.detach())
        return {
            "loss": reconstruction + codebook + self.config.commitment * commitment,
            "reconstruction": reconstruction.detach(),
            "codebook": codebook.detach(),
            "used": perplexity(found.tokens, self.config.count),
        }

    def _quantised(self, images: Tensor) -> Quantised:
        features = functional.normalize(self.encoder(images).movedim(1, -1), dim=-1)
        words = functional.normalize(self.words, dim=1)
        # On the unit sphere the nearest word is the one of the largest inner product.
        tokens = (features.detach() @ words.detach().T).argmax(-1)
        return Quantised(tokens, words[tokens], features)

    def _drawn(self, codes: Tensor) -> Tensor:
        images: Tensor = self.decoder(codes.movedim(-1, 1))
        return images


def perplexity(tokens: Tensor, count: int) -> Tensor:
    """exp of the entropy of how often each of `count` tokens occurs, (), in 1 … count."""
    shares = tokens.flatten().bincount(minlength=count) / tokens.numel()
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def _halved(fewer: int, more: int) -> list[nn.Module]:
    return [nn.Conv2d(fewer, more, 4, stride=2, padding=1), nn.ReLU()]


def _doubled(width: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.ReLU()]


def _distance(left: Tensor, right: Tensor) -> Tensor:
    """‖left − right‖² of a record, averaged over the batch."""
    return (left - right).square().flatten(1).sum(1).mean()
