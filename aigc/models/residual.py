"""Residual encoders and decoders without normalisation, as the relativistic game wants them.

R3GAN (Huang et al. 2024, https://arxiv.org/abs/2501.05441) takes normalisation out of its residual
networks and starts them as Fixup does (Zhang et al. 2019, https://arxiv.org/abs/1901.09321): each
branch ends in a convolution of zeros, and its other weights shrink with the number of branches, so
that the variance of the features is fixed, whatever the depth.
"""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

from aigc.layout import Layout
from aigc.models.layers import attention_of, halvings

SLOPE = 0.2


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))) on features (B, C, H, W); the identity at the start."""

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.first = keeping_variance(nn.Conv2d(channels, channels, 3, padding=1))
        # Fixup, rule 2: L^(−1/(2m − 2)) for the m = 2 layers of each of L branches.
        self.first.weight.data.mul_(branches**-0.5)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        branch = self.first(functional.leaky_relu(features, SLOPE))
        added: Tensor = self.last(functional.leaky_relu(branch, SLOPE))
        return features + added


class ResidualEncoder(nn.Module):
    """Images (B, *layout.shape) to features (B, feature_size): halve, add a block, and again."""

    def __init__(self, layout: Layout, width: int, attention: bool) -> None:
        super().__init__()
        count = halvings(layout)
        channels, height, breadth = layout.shape
        widths = [channels, *(width << step for step in range(count))]
        blocks: list[nn.Module] = []
        for step, (fewer, more) in enumerate(itertools.pairwise(widths)):
            blocks += [keeping_variance(nn.Conv2d(fewer, more, 4, stride=2, padding=1))]
            blocks += [ResidualBlock(more, count)]
            blocks += attention_of(more, attention and step == max(0, count - 2))
        self.blocks = nn.Sequential(*blocks, nn.LeakyReLU(SLOPE), nn.Flatten())
        self.feature_size = widths[-1] * (height >> count) * (breadth >> count)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(images)
        return features


class ResidualDecoder(nn.Module):
    """Codes (B, input_size) to images before their last nonlinearity, (B, *layout.shape)."""

    def __init__(self, layout: Layout, input_size: int, width: int, attention: bool) -> None:
        super().__init__()
        count = halvings(layout)
        channels, height, breadth = layout.shape
        widths = [width << step for step in reversed(range(count))]
        grid = (widths[0], height >> count, breadth >> count)
        blocks: list[nn.Module] = [
            keeping_variance(nn.Linear(input_size, math.prod(grid))),
            nn.Unflatten(1, grid),
            ResidualBlock(widths[0], count),
        ]
        for step, (more, fewer) in enumerate(itertools.pairwise(widths)):
            blocks += [keeping_variance(nn.ConvTranspose2d(more, fewer, 4, stride=2, padding=1))]
            blocks += [ResidualBlock(fewer, count)]
            blocks += attention_of(fewer, attention and step == 0)
        last = keeping_variance(nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1))
        self.blocks = nn.Sequential(*blocks, nn.LeakyReLU(SLOPE), last)

    def forward(self, codes: Tensor) -> Tensor:
        images: Tensor = self.blocks(codes)
        return images


Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def keeping_variance(layer: Layer) -> Layer:
    """The layer with normal weights of variance 1 / fan-in and no bias, for inputs of variance 1.

    Fan-in is the number of inputs that one output adds up; a transposed convolution of stride s
    adds up 1/s² of its kernel.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        kernel = math.prod(layer.kernel_size) / math.prod(layer.stride)
        fan_in = layer.in_channels * kernel
    else:
        fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=fan_in**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
