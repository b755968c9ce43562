"""Images in frames of their own, in which it makes no difference where the bright part of an image
lies and how high and wide it is: so a copy that was moved or cropped is nearly the same in them.

A frame is about the centre of mass, and spans `REACH` standard deviations to each side. Records
have frames of several crops, so that what cuts into the bright part of a copy cuts into that of
the record too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from aigc.generation.screening.frequencies import AT_ONCE, grey

SIDE = 7
"""The lowest frequencies of a frame that are compared."""

REACH = 2.5

CUTS = (0, 3)
"""Pixels that are cut off records on each side."""

BATCH = 256
"""Images framed together, always as many: the last bit may depend on how many they are."""


class Frames(NamedTuple):
    """Images in their frames, and where those lie.

    `looks` float32 (N, 48) are the lowest 7 × 7 frequencies but the constant, of norm 1; 0 of a
    black image. `centres` and `spreads` float32 (N, 2), down and across, are in pixels, counted
    from the upper left corner.
    """

    looks: Tensor
    centres: Tensor
    spreads: Tensor

    def take(self, rows: Tensor | slice) -> Frames:
        """Those of some images."""
        return Frames(self.looks[rows], self.centres[rows], self.spreads[rows])

    def within(self, cut: int, sizes: Sequence[int]) -> Frames:
        """The same, in the pixels of the images of height and width `sizes` whose inside these are:
        `cut` pixels on each side had been cut off."""
        scales = 1 - 2 * cut / torch.tensor(sizes)
        return Frames(self.looks, cut + self.centres * scales, self.spreads * scales)


def framed_crops(images: Tensor) -> Frames:
    """The frames of images (N, C, H, W) without `CUTS` pixels, those of all images for one cut
    after those for the other; what would leave less than half is not cut."""
    cuts = [cut for cut in CUTS if 4 * cut <= min(images.shape[2:])]
    found = [frames_of(cropped(images, cut)).within(cut, images.shape[2:]) for cut in cuts]
    return _together(found)


def frames_of(images: Tensor) -> Frames:
    """Images (N, C, H, W) in frames of their own."""
    found = [framed(part) for part in _batches(images)]
    return _together(found).take(slice(len(images)))


def _batches(images: Tensor) -> Iterator[Tensor]:
    """Whole batches, the last filled up with zeros; at least one."""
    for start in range(0, max(len(images), 1), BATCH):
        part = images[start : start + BATCH]
        yield torch.cat([part, part.new_zeros(BATCH - len(part), *part.shape[1:])])


def _together(found: list[Frames]) -> Frames:
    return Frames(*(torch.cat(each) for each in zip(*found, strict=True)))


def cropped(images: Tensor, pixels: int) -> Tensor:
    """Images without `pixels` on each side, in their old size, bilinear."""
    height, width = images.shape[2:]
    inner = images[:, :, pixels : height - pixels, pixels : width - pixels]
    parts = [
        interpolate(part.float(), (height, width), mode="bilinear")
        for part in torch.split(inner, AT_ONCE)
    ]
    return torch.cat(parts).round().to(torch.uint8)


def framed(images: Tensor) -> Frames:
    """Images (N, C, H, W) in frames of their own."""
    levels = grey(images)
    down, across = levels.sum(2), levels.sum(1)
    placed = [_placed(down), _placed(across)]
    low = _cosines(down, *placed[0]) @ levels @ _cosines(across, *placed[1]).transpose(1, 2)
    centres, spreads = (torch.cat(both, dim=1) for both in zip(*placed, strict=True))
    return Frames(normalize(low.flatten(1)[:, 1:], dim=1), centres, spreads)


def _placed(masses: Tensor) -> tuple[Tensor, Tensor]:
    """The centre of the masses (N, L) along an axis, and their standard deviation, (N, 1) both."""
    places = _places(masses)
    whole = masses.sum(1, keepdim=True).clamp(min=1)
    centre = (masses * places).sum(1, keepdim=True) / whole
    spread = ((masses * (places - centre).square()).sum(1, keepdim=True) / whole).sqrt()
    # Of a single bright line there is no spread.
    return centre, spread.clamp(min=1)


def _places(masses: Tensor) -> Tensor:
    return torch.arange(masses.shape[1], dtype=torch.float32) + 0.5


def _cosines(masses: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """The cosines of frames along an axis of L pixels, float32 (N, 7, L)."""
    in_frame = ((_places(masses) - centre) / (2 * REACH * spread) + 0.5).clamp(0, 1)
    first = torch.cos(math.pi * in_frame)
    # Chebyshev's recurrence: a cosine takes far longer than a product.
    rows = [torch.ones_like(first), first]
    for _ in range(2, SIDE):
        rows.append(2 * first * rows[-1] - rows[-2])
    return torch.stack(rows, dim=1)
