"""Images in frames of their own, in which it makes no difference where the bright part of an image
lies and how high and wide it is: so a moved copy is the same, and one cropped unevenly nearly so.

A frame is about the centre of mass, and spans `REACH` standard deviations to each side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aigc.generation.screening.frequencies import grey

SIDE = 10
"""The lowest frequencies of a frame that are compared."""

REACH = 2.5


def framed(images: Tensor) -> Tensor:
    """The lowest 10 × 10 frequencies but the constant of images (N, C, H, W), each in its own
    frame, of norm 1, float32 (N, 99). Of a black image there are none: all are 0."""
    levels = grey(images).float()
    down, across = _cosines(levels.sum(2)), _cosines(levels.sum(1))
    return normalize((down @ levels @ across.transpose(1, 2)).flatten(1)[:, 1:], dim=1)


def _cosines(masses: Tensor) -> Tensor:
    """The cosines of frames along an axis, float32 (N, 10, L), from the masses (N, L) there."""
    places = torch.arange(masses.shape[1], dtype=torch.float32)
    whole = masses.sum(1, keepdim=True).clamp(min=1)
    centre = (masses * places).sum(1, keepdim=True) / whole
    spread = ((masses * (places - centre).square()).sum(1, keepdim=True) / whole).sqrt()
    # Of a single bright line there is no spread.
    in_frame = ((places - centre) / (2 * REACH * spread.clamp(min=1)) + 0.5).clamp(0, 1)
    frequencies = torch.arange(SIDE, dtype=torch.float32)[:, None]
    return torch.cos(math.pi * frequencies * in_frame[:, None])
