"""Fidelity and variety apart, by the balls that reach to each record's fifth neighbour.

Precision and recall: Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991. Density and
coverage: Naeem et al. 2020, https://arxiv.org/abs/2002.09797. All take float features (N, D), at
least 6 records where balls are drawn, and need bounded memory at any N.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor

from aigc.metrics.distances import chunks, distances

NEIGHBOURS = 5
# A record on the rim of a ball is outside, as in the authors' code. Exact copies of a neighbour
# lie on the rim, where rounding would otherwise decide.
_STRICTLY_INSIDE = 1 - 1e-6


def coverage(generated: Tensor, held_out: Tensor) -> float:
    """The share of held-out records whose ball holds a sample: how much of the data is reached."""
    reached = [inside.any(dim=1) for inside in _membership(held_out, generated)]
    return _share(torch.cat(reached))


def density(generated: Tensor, held_out: Tensor) -> float:
    """How many held-out balls a sample lies in, over 5: near 1 for the data's own distribution."""
    inside = sum(int(part.sum()) for part in _membership(held_out, generated))
    return inside / (NEIGHBOURS * len(generated))


def precision(generated: Tensor, held_out: Tensor) -> float:
    """The share of samples inside any held-out ball. A collapsed model scores 1: never alone."""
    parts = (inside.any(dim=0) for inside in _membership(held_out, generated))
    return _share(reduce(torch.logical_or, parts))


def recall(generated: Tensor, held_out: Tensor) -> float:
    """The share of held-out records inside any sample's ball."""
    return precision(held_out, generated)


def _membership(centres: Tensor, points: Tensor) -> Iterator[Tensor]:
    """Which points lie in which centre's ball, bool, (a chunk of the centres, points)."""
    centres, points = centres.double(), points.double()
    for chunk in chunks(centres, max(len(centres), len(points))):
        # The nearest of all is the centre itself, hence one more.
        nearest = distances(chunk, centres).topk(NEIGHBOURS + 1, dim=1, largest=False).values
        yield distances(chunk, points) < nearest[:, -1:] * _STRICTLY_INSIDE


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
