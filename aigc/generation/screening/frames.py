"""Images in frames of their own, in which it makes no difference where the bright part of an image
lies and how high and wide it is: so a copy that was moved or cropped is nearly the same in them.

A frame is about the centre of mass, and spans `REACH` standard deviations to each side. Records
also have one without their outer pixels, so that what cuts into the bright part of a copy cuts into
that of the record too. A memory keeps them: who changes a frame raises the memory's `FORMAT`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from aigc.generation.screening.frequencies import grey_levels, in_parts

SIDE = 7
"""The lowest frequencies of a frame that are compared."""

REACH = 2.5

GROUNDS = (0, 3)
"""By which the brightest grey level of an image may be divided, to give what is taken off: noise on
a black ground would weigh as much as a thin stroke. Of a grey one, nothing (0) is to be taken."""

CUT = 3
"""Pixels that are cut off records on each side."""

SAME = 0.998
"""The correlation from which on a crop looks in its frame as the whole image does."""

SYMMETRIC = 0.01
"""What the correlation of an image and its mirror image with another may differ by."""

MOST, PIXELS = 4096, 2**21
"""Of images that are framed together, and of their pixels. Images of one size are so always as many
together, since the last bit may depend on how many they are."""


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

    def facing(self, others: Frames, width: int) -> tuple[Frames, Tensor]:
        """The same of images of that width, of those flipped that then look more like the others,
        or lie more as they do where that makes no difference; and which those are, bool (N,)."""
        centres = torch.stack([self.centres[:, 0], width - self.centres[:, 1]], dim=1)
        flipped = Frames(self.looks * torch.where(_is_odd(), -1, 1), centres, self.spreads)
        gain = ((flipped.looks - self.looks) * others.looks).sum(dim=1)
        is_nearer = flipped.away_from(others) < self.away_from(others)
        is_flipped = torch.where(gain.abs() > SYMMETRIC, gain > 0, is_nearer)
        pairs = zip(flipped, self, strict=True)
        return Frames(*(torch.where(is_flipped[:, None], *pair) for pair in pairs)), is_flipped

    def away_from(self, others: Frames) -> Tensor:
        """By how much they lie, and spread, otherwise than the others, in square pixels, (N,)."""
        moved, spread = self.centres - others.centres, self.spreads - others.spreads
        return (moved.square() + spread.square()).sum(dim=1)

    def within(self, cut: int, sizes: Sequence[int]) -> Frames:
        """The same, in the pixels of the images of height and width `sizes` whose inside these are:
        `cut` pixels on each side had been cut off."""
        scales = 1 - 2 * cut / torch.tensor(sizes)
        return Frames(self.looks, cut + self.centres * scales, self.spreads * scales)


def framed_crops(images: Tensor, ground: int) -> tuple[Frames, Tensor]:
    """The frames of images (N, C, H, W), then those of their crops without `CUT` pixels, and which
    image each is of, int64.

    There are none of images of which less than half would be left, nor of crops that look the
    same, which is only said of images with a `ground`: others all look much alike.
    """
    whole, rows = frames_of(images, ground), torch.arange(len(images))
    if not is_cut(images):
        return whole, rows
    crops = frames_of(cropped(images, CUT), ground).within(CUT, images.shape[2:])
    alike = (whole.looks * crops.looks).sum(dim=1)
    others = torch.nonzero((alike < SAME) | (ground == 0)).flatten()
    return _together([whole, crops.take(others)]), torch.cat([rows, others])


def is_cut(images: Tensor) -> bool:
    """Whether half of images (N, C, H, W) is left when `CUT` pixels are cut off on each side."""
    return min(images.shape[2:]) >= 4 * CUT


def frames_of(images: Tensor, ground: int) -> Frames:
    """Images (N, C, H, W) in frames of their own, without that `ground`."""
    found = [framed(part, ground) for part in _batches(images)]
    return _together(found).take(slice(len(images)))


def _batches(images: Tensor) -> Iterator[Tensor]:
    """Whole batches, the last filled up with zeros; at least one."""
    size = max(1, min(MOST, PIXELS // math.prod(images.shape[2:])))
    for start in range(0, max(len(images), 1), size):
        part = images[start : start + size]
        yield torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])


def _together(found: list[Frames]) -> Frames:
    return Frames(*(torch.cat(each) for each in zip(*found, strict=True)))


def cropped(images: Tensor, pixels: int) -> Tensor:
    """Images without `pixels` on each side, in their old size, bilinear."""
    height, width = images.shape[2:]
    inner = images[:, :, pixels : height - pixels, pixels : width - pixels]
    parts = [
        interpolate(part.float(), (height, width), mode="bilinear") for part in in_parts(inner)
    ]
    return torch.cat(parts).round().to(torch.uint8)


def either_side(looks: Tensor) -> Tensor:
    """Looks, the same for an image and its mirror image, float32 (N, 48)."""
    return torch.where(_is_odd(), looks.abs(), looks)


def _is_odd() -> Tensor:
    """Which frequencies are odd across, (48,): in a mirror image they have the other sign."""
    return torch.arange(1, SIDE**2) % SIDE % 2 == 1


def framed(images: Tensor, ground: int) -> Frames:
    """Images (N, C, H, W) in frames of their own, without that `ground`."""
    levels = _off_the_ground(grey_levels(images), ground).float()
    height, width = levels.shape[1:]
    down, across = _placed(levels.sum(2)), _placed(levels.sum(1))
    low = _cosines(height, *down) @ levels @ _cosines(width, *across).transpose(1, 2)
    middles = torch.tensor([height, width]) / 2
    offsets, spreads = (torch.cat(both, dim=1) for both in zip(down, across, strict=True))
    return Frames(normalize(low.flatten(1)[:, 1:], dim=1), middles + offsets, spreads)


def _off_the_ground(levels: Tensor, ground: int) -> Tensor:
    """Grey levels uint8 (N, H, W) without what the brightest one of each is divided by `ground`."""
    if not ground:
        return levels
    least = levels.flatten(1).amax(dim=1)[:, None, None] // ground
    return torch.maximum(levels, least) - least


def _placed(masses: Tensor) -> tuple[Tensor, Tensor]:
    """How far the centre of the masses (N, L) along an axis is from its middle, and their standard
    deviation, (N, 1) both."""
    places = _places(masses.shape[1])
    moments = masses @ torch.stack([torch.ones_like(places), places, places.square()], dim=1)
    whole, first, second = torch.split(moments, 1, dim=1)
    whole = whole.clamp(min=1)
    centre = first / whole
    # Of a single bright line there is no spread.
    return centre, (second / whole - centre.square()).clamp(min=1).sqrt()


def _places(size: int) -> Tensor:
    """Where the pixels along an axis are, from its middle."""
    return torch.arange(size) + (1 - size) / 2


def _cosines(size: int, centre: Tensor, spread: Tensor) -> Tensor:
    """The cosines of frames along an axis of so many pixels, float32 (N, 7, size)."""
    half, cosines = math.pi / 2, torch.ones(SIDE, len(centre), size)
    angles = half + ((_places(size) - centre) * (half / REACH / spread)).clamp(-half, half)
    twice = 2 * torch.cos(angles, out=cosines[1])
    # Chebyshev's recurrence: a cosine takes far longer than a product.
    for row in range(2, SIDE):
        torch.mul(twice, cosines[row - 1], out=cosines[row]).sub_(cosines[row - 2])
    return cosines.transpose(0, 1)
