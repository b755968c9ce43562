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
    numbers = draws.uniform(len(images_bchw), 3, 1, 1, 1).to(images_bchw.device)
    brightness, saturation, contrast = numbers.unbind(1)
    images = images_bchw + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def translated(images_bchw: Tensor, draws: Draws) -> Tensor:
    """Each image moved by whole pixels down and right, with zeros moving in as in the paper."""
    sides = torch.tensor(images_bchw.shape[2:])
    reach = (sides * TRANSLATION + 0.5).long()
    # 0 … 2 · reach: where in the padded image the window begins.
    numbers = draws.uniform(len(images_bchw), 2)
    top, left = (numbers * (2 * reach + 1)).long().to(images_bchw.device).unbind(1)
    down, right = reach.tolist()
    padded = functional.pad(images_bchw, (right, right, down, down))
    rows = _places(images_bchw, 2) + top[:, None]
    columns = _places(images_bchw, 3) + left[:, None]
    records = torch.arange(len(images_bchw), device=images_bchw.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[records, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def cut_out(images_bchw: Tensor, draws: Draws) -> Tensor:
    """A rectangle of half a side set to 0; its centre is any pixel, so that it may be cut off."""
    sides = torch.tensor(images_bchw.shape[2:])
    hole = (sides * CUTOUT + 0.5).long()
    starts = (draws.uniform(len(images_bchw), 2) * sides).long() - hole // 2
    top, left = starts.to(images_bchw.device).unbind(1)
    height, width = hole.tolist()
    rows = _within(_places(images_bchw, 2) - top[:, None], height)
    columns = _within(_places(images_bchw, 3) - left[:, None], width)
    return images_bchw * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _places(images: Tensor, dimension: int) -> Tensor:
    return torch.arange(images.shape[dimension], device=images.device)[None]


def _within(offsets: Tensor, length: int) -> Tensor:
    return (offsets >= 0) & (offsets < length)
