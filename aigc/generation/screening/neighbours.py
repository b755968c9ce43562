"""Which of many points is nearest to each of others, without measuring each exactly.

All distances are first found by one product of matrices in numbers of 16 bits, where the processor
multiplies those (a fifth of the time of float32). What their error may hide is known: those that
may be the nearest, hardly ever more than a few, are then measured exactly. So the answer does not
depend on the processor, nor on the points that are asked for together.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

FEWEST, MOST, DISTANCES = 64, 1024, 2**25
"""Bounds of how many points are asked for together, and about how many distances that may be."""

MULTIPLE = 32
"""Of numbers of 16 bits, columns are multiplied by so many at once."""

BY_ADDING = 2.0**-16
"""The error of sums in float32 of some hundred terms, as a share of all that is added."""

Rows = NDArray[np.int64]


class Neighbours:
    """Points float32 (N, D), N ≥ 1, among which the nearest are looked for.

    Where many are about equally far, as in feature space, the search is to be `fine`: with factors
    of twice 16 bits, three products of which are added up.
    """

    def __init__(self, points: Tensor, fine: bool = False) -> None:
        self.points = points
        self._type = product_type()
        self._fine = fine and self._type != torch.float32
        # What rounding a product may take away.
        self._slack = 1 + 2 * torch.finfo(self._type).eps
        # About their mean they are shorter, and so is the error.
        self._mean = points.mean(dim=0)
        self._longest = (points - self._mean).norm(dim=1).max()
        self._columns = self._halved(points, False).T.contiguous()

    def nearest(
        self, asked: Tensor, within: float = torch.inf, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The first row that is nearest to each of `asked`, float32 (M, D), and how far it is.

        int64 (M,) and float64 (M,); −1 and infinity where none is `within` that distance: of one
        that is barely farther it is told or not. `own` are the rows of `asked` themselves, which
        they are not compared with.
        """
        one, other = self._pairs(asked, within, own)
        squares = self._squares(asked[one], other)
        order = np.lexsort((squares, one))
        found, first = np.unique(one[order], return_index=True)
        rows, apart = np.full(len(asked), -1), np.full(len(asked), np.inf)
        rows[found], apart[found] = other[order[first]], np.sqrt(squares[order[first]])
        return torch.from_numpy(rows), torch.from_numpy(apart)

    def _pairs(self, asked: Tensor, within: float, own: Tensor | None) -> tuple[Rows, Rows]:
        """Which of `asked` may be nearest to which of the points."""
        columns, error = self._halved(asked, True), self._error(asked)
        count = max(FEWEST, min(MOST, DISTANCES // len(self.points)))
        product = torch.empty(min(count, len(asked)), len(self.points), dtype=self._type)
        one, other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for start in range(0, len(asked), count):
            some = slice(start, start + count)
            halves = torch.mm(columns[some], self._columns, out=product[: len(columns[some])])
            if own is not None:
                halves[torch.arange(len(halves)), own[some]] = torch.inf
            near, points = self._candidates(halves, error[some], within)
            one.append(start + near)
            other.append(points)
        return np.concatenate(one), np.concatenate(other)

    def _candidates(self, halves: Tensor, error: Tensor, within: float) -> tuple[Rows, Rows]:
        """Which of the halves of squared distances, each wrong by `error` (M,), may be least."""
        # Numbers that are not negative have the order of their bits, which NumPy compares sooner;
        # those below 0, by their error alone, are less than all others.
        bits = halves.view(_BITS[self._type]).numpy()
        least = torch.from_numpy(bits.min(axis=1)).view(self._type).float().clamp_(min=0)
        most = least.add(error, alpha=2).mul_(self._slack).to(self._type)
        near = np.flatnonzero((least <= (error + within**2 / 2) * self._slack).numpy())
        chosen = bits if len(near) == len(bits) else bits[near]
        places = np.flatnonzero(chosen <= most.view(_BITS[self._type]).numpy()[near, None])
        one, other = np.divmod(places, len(self.points))
        return near[one], other

    def _halved(self, points: Tensor, is_asked: bool) -> Tensor:
        """What the product of gives half of the squared distances: −p·r + |p|² / 2 + |r|² / 2."""
        centred = points - self._mean
        halves = self._parts(centred.square().sum(1, keepdim=True) / 2)
        ones = torch.ones_like(halves)
        if is_asked:
            centred, halves, ones = -centred, ones, halves
        factors = [centred]
        if self._fine:
            upper, lower = self._parts(centred).chunk(2, dim=1)
            factors = [upper, upper, lower] if is_asked else [upper, lower, upper]
        columns = torch.cat([*factors, ones, halves], dim=1)
        return pad(columns, (0, -columns.shape[1] % MULTIPLE)).to(self._type)

    def _parts(self, numbers: Tensor) -> Tensor:
        """Numbers of 16 bits, and beside them what that leaves."""
        return torch.cat([numbers, numbers - numbers.to(self._type)], dim=1)

    def _error(self, asked: Tensor) -> Tensor:
        """By how much half of a squared distance may be wrong before it is rounded, (M,)."""
        # Of each factor half of eps is lost; of the halves of squares, and by adding, far less.
        length = (asked - self._mean).norm(dim=1)
        lost = torch.finfo(self._type).eps ** (1 + self._fine)
        error: Tensor = 1.25 * lost * length * self._longest
        error += BY_ADDING * (length + self._longest).square()
        return error

    def _squares(self, asked: Tensor, other: Rows) -> NDArray[np.float64]:
        """Squared distances, each pair by itself."""
        apart = (asked.double() - self.points[other].double()).numpy()
        squares: NDArray[np.float64] = np.einsum("ij,ij->i", apart, apart)
        return squares


_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""Whole numbers of the same width."""


@functools.cache
def product_type() -> torch.dtype:
    """In what matrices are multiplied soonest."""
    has = torch.cpu.get_capabilities()
    return torch.bfloat16 if has.get("amx_bf16") or has.get("avx512_bf16") else torch.float32
