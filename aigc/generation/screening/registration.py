"""Where in a record a sample was cut out: a window whose content, stretched to the record's size,
is the sample.

A guess from the frames of both is refined as Lucas and Kanade (1981) do, in the inverse form of
Baker and Matthews (2004): where the sample would have to be moved and stretched to be what the
window shows, the window is moved and stretched the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aigc.generation.screening.frames import Frames
from aigc.generation.screening.frequencies import grey

AT_ONCE = 128
"""Pairs looked at together, always as many: the last bit may depend on how many they are."""

STEPS = 3
"""Of the refinement: guesses are off by a pixel or two, of which each step leaves a fraction."""

OUTSIDE = 1.5
"""Pixels that a window's edge may lie outside of the record: copies may be moved by one."""

INSIDE = 1 / 6
"""The share of the record's size that a window's edge may lie inside."""

ROUGH = 1.5
"""Pixels that a guess may be off, either way."""

FARTHEST = 2.0
"""Pixels that a step may move an edge: where more is asked for, the two have little in common."""

LEAST_CONTRAST = 0.3
"""Of what a window shows, of the sample's, as far as steps believe it."""


def guessed(samples: Frames, records: Frames, sizes: Sequence[int]) -> Tensor:
    """The windows, float32 (N, 2, 2), in which records lie in their frames as samples do: where
    they start and stop, down and across, in pixels. `sizes` are the height and the width."""
    scales = records.spreads / samples.spreads
    starts = records.centres - samples.centres * scales
    return torch.stack([starts, starts + scales * torch.tensor(sizes)], dim=2)


def is_crop(windows: Tensor, sizes: Sequence[int], rough: bool = False) -> Tensor:
    """Whether windows are nearly all of a record, bool (N,), or may be where they are `rough`."""
    slack = ROUGH if rough else 0
    size = torch.tensor(sizes)
    depths = torch.stack([windows[:, :, 0], size - windows[:, :, 1]], dim=2)
    allowed = (depths >= -OUTSIDE - slack) & (depths <= size[:, None] * INSIDE + slack)
    return allowed.flatten(1).all(dim=1)


@torch.inference_mode()
def registered(samples: Tensor, records: Tensor, windows: Tensor) -> Tensor:
    """How alike samples and the best windows of records, near `windows`, are, float32 (N,).

    It is the correlation of the grey levels of images (N, C, H, W), or 0 where the window is not
    nearly all of the record.
    """
    likeness = torch.empty(len(samples))
    for start in range(0, len(samples), AT_ONCE):
        # The last batch is filled up with its last pair.
        rows = torch.arange(start, start + AT_ONCE).clamp(max=len(samples) - 1)
        found = _likeness(samples[rows], records[rows], windows[rows])
        likeness[start : start + AT_ONCE] = found[: len(samples) - start]
    return likeness


def _likeness(samples: Tensor, records: Tensor, windows: Tensor) -> Tensor:
    sample, record = grey(samples), grey(records)
    windows = refined(sample, record, windows)
    seen = normalize(_varying(sample), dim=1)
    alike = (seen * normalize(_varying(shown(record, windows)), dim=1)).sum(dim=1)
    return torch.where(is_crop(windows, samples.shape[2:]), alike, 0)


def _varying(images: Tensor) -> Tensor:
    pixels = images.flatten(1)
    return pixels - pixels.mean(dim=1, keepdim=True)


def shown(records: Tensor, windows: Tensor) -> Tensor:
    """What windows show of grey records float32 (N, H, W), in the records' size, bilinear.

    As of crops, the pixels at a window's edge are repeated; outside of a record it is black.
    """
    height, width = records.shape[1:]
    across = _weights(windows[:, 1], width).transpose(1, 2)
    return _weights(windows[:, 0], height) @ records @ across


def _weights(windows: Tensor, size: int) -> Tensor:
    """How much of each pixel along an axis each of as many new ones takes, (N, size, size)."""
    start, stop = windows[:, :1], windows[:, 1:]
    places = torch.arange(size, dtype=torch.float32)
    seen = start + (stop - start) * (places + 0.5) / size - 0.5
    seen = torch.minimum(torch.maximum(seen, start.round()), stop.round() - 1)
    return (1 - (seen[:, :, None] - places).abs()).clamp(min=0)


def refined(samples: Tensor, records: Tensor, windows: Tensor) -> Tensor:
    """Windows in which grey records look more like samples, both float32 (N, H, W)."""
    fit, sizes = _fit(samples), torch.tensor(samples.shape[1:])
    for _ in range(STEPS):
        found = (fit @ shown(records, windows).flatten(1)[:, :, None])[:, :, 0]
        moves = found[:, :4] / found[:, 4:5].clamp(min=LEAST_CONTRAST)
        scales = (windows[:, :, 1] - windows[:, :, 0]) / sizes
        moves = moves.view(-1, 2, 2) * scales[:, :, None]
        windows = windows - moves.clamp(-FARTHEST, FARTHEST)
    return windows


def _fit(samples: Tensor) -> Tensor:
    """What takes an image to the six numbers that make a sample it, (N, 6, H · W): how far its
    upper, lower, left and right edge are to be moved, each times the contrast; the contrast; and
    the brightness."""
    height, width = samples.shape[1:]
    down, across = torch.gradient(samples, dim=(1, 2))
    lower = ((torch.arange(height) + 0.5) / height)[:, None]
    right = (torch.arange(width) + 0.5) / width
    edges = [down * (1 - lower), down * lower, across * (1 - right), across * right]
    parts = torch.stack([*edges, samples, torch.ones_like(samples)], dim=1).flatten(2)
    products = parts @ parts.transpose(1, 2)
    # An image that is the same all along an axis says nothing of where it is on it.
    least = 1e-6 * products.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-6
    inverse: Tensor = torch.linalg.inv(products + least[:, None, None] * torch.eye(6))
    return inverse @ parts
