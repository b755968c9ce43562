"""Augmentation that D sees reals and fakes through, and that G is trained through.

DiffAugment (Zhao et al. 2020, https://arxiv.org/abs/2006.10738) with its three policies: colour,
translation by up to an eighth of a side, and a cutout of half a side. Everything is differentiable
in the pixels, as often as a gradient penalty asks, and every record has its own random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from aigc.seeding import Draws

TRANSLATION, CUTOUT = 1 / 8, 1 / 2


def augmented(images_bchw: Tensor, draws: Draws) -> Tensor:
    """The images through all three policies, in the paper's order; pixels may leave [−1, 1]."""
    return cut_out(translated(coloured(images_bchw, draws), draws), draws)


def coloured(images_bchw: Tensor, draws: Draws) -> Tensor:
    """Brightness moved by up to ½, saturation times up to 2, contrast times ½ to 1½."""
    brightness, saturation, contrast = _numbers(images_bchw, draws, 3)[..., None, None].unbind(1)
    images = images_bchw + (brightness - 0.5)[:, None]
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)[:, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)[:, None]


def translated(images_bchw: Tensor, draws: Draws) -> Tensor:
    """Each image moved by whole pixels down and right, with zeros moving in as in the paper."""
    sides = _sides(images_bchw)
    reach = (sides * TRANSLATION + 0.5).floor()
    numbers = _numbers(images_bchw, draws, 2)
    down, right = (numbers * (2 * reach + 1)).floor().long().sub(reach.long()).unbind(1)
    top, left = (int(side) for side in reach)
    padded = functional.pad(images_bchw, (left, left, top, top))
    rows = _places(images_bchw, 2) + top - down[:, None]
    columns = _places(images_bchw, 3) + left - right[:, None]
    records = torch.arange(len(images_bchw), device=images_bchw.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[records, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def cut_out(images_bchw: Tensor, draws: Draws) -> Tensor:
    """A rectangle of half a side set to 0; its centre is any pixel, so that it may be cut off."""
    sides = _sides(images_bchw)
    height, width = (int(side * CUTOUT + 0.5) for side in sides)
    top, left = (_numbers(images_bchw, draws, 2) * sides).floor().long().unbind(1)
    rows = _places(images_bchw, 2) - (top - height // 2)[:, None]
    columns = _places(images_bchw, 3) - (left - width // 2)[:, None]
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    return images_bchw * ~inside[:, None]


def _numbers(images: Tensor, draws: Draws, count: int) -> Tensor:
    return draws.uniform(len(images), count).to(images.device)


def _sides(images: Tensor) -> Tensor:
    return torch.tensor(images.shape[2:], device=images.device)


def _places(images: Tensor, dimension: int) -> Tensor:
    return torch.arange(images.shape[dimension], device=images.device)[None]


def _within(offsets: Tensor, length: int) -> Tensor:
    return (offsets >= 0) & (offsets < length)
