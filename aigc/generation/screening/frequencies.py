"""The lowest frequencies of images, in whole numbers, so that any machine finds the same ones."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

SCALE = 1024
"""Cosines are rounded to 1/1024: all products stay below 2⁵³, and sums in float64 are exact."""

WHITE = 255

MOST, PIXELS = 512, 2**20
"""Of images looked at together, and of their pixels: what is in between stays in a cache."""


def grey(stored: Tensor) -> Tensor:
    """uint8 (N, 1 or 3, H, W) as whole grey levels, float32 (N, H, W)."""
    return grey_levels(stored).float()


def grey_levels(stored: Tensor) -> Tensor:
    """uint8 (N, 1 or 3, H, W) as grey levels, uint8 (N, H, W)."""
    if stored.shape[1] == 1:
        return stored[:, 0]
    red, green, blue = stored.float().unbind(1)
    return ((299 * red + 587 * green + 114 * blue) / 1000).floor().to(torch.uint8)


def in_parts(stored: Tensor) -> tuple[Tensor, ...]:
    """Images (N, C, H, W) in parts to be looked at together."""
    return torch.split(stored, at_once(stored))


def at_once(stored: Tensor) -> int:
    """How many images (N, C, H, W) are looked at together."""
    return max(1, min(MOST, PIXELS // math.prod(stored.shape[2:])))


def frequencies(stored: Tensor, side: int) -> Tensor:
    """Cosine coefficients of images, `side` down and `side` across, float64 (N, side, side).

    They are 1024² times as large as the sums of their definition.
    """
    found = [_transformed(grey(part), side) for part in in_parts(stored)]
    return torch.cat(found)


def _transformed(images: Tensor, side: int) -> Tensor:
    height, width = images.shape[1:]
    # Sums of one column are exact in float32 unless it is long.
    is_short = WHITE * SCALE * height < 2**24
    rows = cosines(height, side)
    down = rows.float() @ images if is_short else rows @ images.double()
    across = down.flatten(0, 1).double() @ cosines(width, side).T
    return across.view(-1, side, side)


@functools.cache
def cosines(size: int, side: int) -> Tensor:
    """The lowest `side` rows of a cosine transform of `size` numbers, times 1024, rounded."""
    frequency, place = np.arange(side)[:, None], np.arange(size)[None]
    rows = np.round(SCALE * np.cos(np.pi * frequency * (2 * place + 1) / (2 * size)))
    return torch.from_numpy(rows)
