"""Networks that several families share: small convolutional encoders and decoders of images.

No batch normalisation anywhere: its statistics would depend on how a batch is split over workers.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigc.errors import ModalityUnsupported, ModelError
from aigc.layout import Layout
from aigc.models.self_attention import SelfAttention

SMALLEST_SIDE = 8
"""Images are halved, once at least, until their smaller side is no longer than this."""


def image_shape(layout: Layout) -> tuple[int, int, int]:
    """(channels, height, width); raises ModalityUnsupported when a record has another shape."""
    if len(layout.shape) != 3 or min(layout.shape[1:]) < 4:
        raise ModalityUnsupported(
            f"Images are (channels, height, width) with sides of 4 pixels or more, "
            f"and the records of this dataset are {layout.shape}",
            "Import it again as larger images.",
        )
    channels, height, width = layout.shape
    return channels, height, width


def halvings(layout: Layout) -> int:
    """How often an image of this layout is halved: 28 → 14 → 7 and 32 → 16 → 8, but 8 → 4.

    Raises ModalityUnsupported when the shape is no image or cannot be halved that often.
    """
    _, height, width = image_shape(layout)
    count = 1
    while min(height, width) > SMALLEST_SIDE << count:
        count += 1
    if height % (1 << count) or width % (1 << count):
        raise ModalityUnsupported(
            f"Images of {height}×{width} cannot be halved {count} times",
            f"Import them with sides that are multiples of {1 << count}.",
        )
    return count


def with_classes(values: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """`values` (B, n) with the one-hot labels beside them, (B, n + classes).

    Raises ModelError when the model knows classes and `labels` is None.
    """
    if classes == 0:
        return values
    if labels is None:
        raise ModelError(
            f"The model was trained on {classes} classes and was given no labels",
            "Pass one label a record.",
        )
    return torch.cat([values, functional.one_hot(labels, classes).to(values.dtype)], dim=1)


def attention_of(channels: int, wanted: bool) -> list[nn.Module]:
    """Self-attention as a layer to add, or none.

    Encoders and decoders have it at the coarsest resolution but one, 14×14 of 28×28; images that
    are halved once have no such features, and their encoder has it at the coarsest.
    """
    return [SelfAttention(channels)] if wanted else []


class ConvEncoder(nn.Module):
    """Images (B, *layout.shape) to features (B, feature_size): strided convolutions, flattened."""

    def __init__(self, layout: Layout, width: int, attention: bool = False) -> None:
        super().__init__()
        count = halvings(layout)
        channels, height, breadth = layout.shape
        widths = [channels, *(width << step for step in range(count))]
        blocks: list[nn.Module] = []
        for step, (fewer, more) in enumerate(itertools.pairwise(widths)):
            blocks += [nn.Conv2d(fewer, more, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            blocks += attention_of(more, attention and step == max(0, count - 2))
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.feature_size = widths[-1] * (height >> count) * (breadth >> count)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(images)
        return features


class ConvDecoder(nn.Module):
    """Codes (B, input_size) to images before their last nonlinearity, (B, *layout.shape)."""

    def __init__(
        self, layout: Layout, input_size: int, width: int, attention: bool = False
    ) -> None:
        super().__init__()
        count = halvings(layout)
        channels, height, breadth = layout.shape
        widths = [width << step for step in reversed(range(count))]
        grid = (widths[0], height >> count, breadth >> count)
        blocks: list[nn.Module] = [
            nn.Linear(input_size, widths[0] * grid[1] * grid[2]),
            nn.Unflatten(1, grid),
            nn.GroupNorm(8, widths[0]),
            nn.ReLU(),
        ]
        for step, (more, fewer) in enumerate(itertools.pairwise(widths)):
            blocks += [nn.ConvTranspose2d(more, fewer, 4, stride=2, padding=1)]
            blocks += [nn.GroupNorm(8, fewer), nn.ReLU()]
            blocks += attention_of(fewer, attention and step == 0)
        blocks += [nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, codes: Tensor) -> Tensor:
        images: Tensor = self.blocks(codes)
        return images
