"""Which of many looks is most like each of others, without measuring how alike all of them are.

A look is a vector of norm 1, or 0 where there is nothing to be seen, and two are as alike as their
product says: their correlation. All products are first found by one product of matrices in numbers
of 16 bits, where the processor multiplies those (a fifth of the time of float32). What their error
may hide is known: those that may be the most alike, hardly ever more than a few, are then measured
exactly. So the answer does not depend on the processor, nor on the looks asked for together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import pad

FEWEST, MOST, PRODUCTS = 64, 768, 2**23
"""Bounds of how many looks are asked for together, and about how many products that may be."""

MULTIPLE = 32
"""Of numbers of 16 bits, columns are multiplied by so many at once."""

GROUP = 32
"""Looks are in groups of so many, of each of which only the nearest is compared at first."""

ONESELF, NOWHERE = 2.5, 3
"""Farther than two looks can be apart: what is not to be found, and what is not there at all."""

EXACT = 2**16
"""Pairs measured together: of records that are all alike there are as many as products."""

BY_ADDING = 2.0**-16
"""The error of sums in float32 of some hundred terms, as a share of all that is added."""

Rows = NDArray[np.int64]
Numbers = NDArray[np.float64]
Away = Callable[[Rows, Rows], Numbers]


class Neighbours:
    """Looks float32 (N, D), N ≥ 1, among which the most alike are looked for."""

    def __init__(self, looks: Tensor) -> None:
        self.looks = looks
        self._type = product_type()
        self._rows = self._rows_of(looks)
        self._lost = self._rounding(looks).max()
        self._exact = looks.double().numpy()

    def most_alike(
        self,
        asked: Tensor,
        own: Tensor | None = None,
        away: Away | None = None,
        margin: float = 0,
    ) -> tuple[Tensor, Tensor]:
        """The first row that is most like each of `asked`, float32 (M, D), and how alike it is.

        int64 (M,) and float64 (M,), both 0 of what is 0 itself. Of rows that are the most alike but
        for the `margin` it is the one least `away`, which is asked for rows of `asked` and of
        these, (P,) each. `own`, (M, K), are rows that each of `asked` is not compared with.
        """
        rows, alike = np.zeros(len(asked), np.int64), np.zeros(len(asked))
        count = max(FEWEST, min(MOST, PRODUCTS // len(self.looks)))
        apart = torch.empty(len(self._rows), count, dtype=self._type)
        columns = torch.zeros(count, self._rows.shape[1], dtype=self._type)
        for start in range(0, len(asked), count):
            some = asked[start : start + count]
            columns[: len(some)] = self._beside(-some, 1)
            torch.mm(self._rows, columns.T, out=apart)
            if own is not None:
                apart.scatter_(0, own[start : start + count].T, ONESELF)
            one, other = self._candidates(apart[:, : len(some)], some, margin)
            products = self._products(some, one, other)
            near = _near(one, products, margin)
            one, other, products = start + one[near], other[near], products[near]
            best = _least_away(one, other, away)
            rows[one[best]], alike[one[best]] = other[best], products[best]
        return torch.from_numpy(rows), torch.from_numpy(alike)

    def _candidates(self, apart: Tensor, asked: Tensor, margin: float) -> tuple[Rows, Rows]:
        """Which of the looks each of `asked` may be most like, but for the margin, from 1 less each
        product, (N, M).

        In the order of `asked`.
        """
        error = self._error(asked)
        # What rounding the result may take away.
        slack = 1 + 2 * torch.finfo(self._type).eps
        # Numbers that are not negative have the order of their bits, which are compared sooner;
        # those below 0, by their error alone, are less than all others.
        bits = apart.view(_BITS[self._type]).view(GROUP, -1, len(asked))
        least_bits = bits.amin(dim=0)
        nearest = least_bits.amin(dim=0).view(self._type).float().clamp_(min=0)
        most = nearest.add(error, alpha=2).add_(margin).mul_(slack).to(self._type).view(bits.dtype)
        # What shows nothing is equally far from all.
        most[vector_norm(asked, dim=1) == 0] = torch.iinfo(bits.dtype).min
        group, one = _where(least_bits, most)
        place, found = _where(bits[:, group, one], most[one])
        one, other = one[found], place * bits.shape[1] + group[found]
        order = np.argsort(one, kind="stable")
        return one[order], other[order]

    def _products(self, asked: Tensor, one: Rows, other: Rows) -> Numbers:
        """Exact products of pairs, float64 (P,)."""
        exact, products = asked.double().numpy(), np.empty(len(one))
        for start in range(0, len(one), EXACT):
            some = slice(start, start + EXACT)
            pairs = exact[one[some]], self._exact[other[some]]
            np.einsum("ij,ij->i", *pairs, out=products[some])
        return products

    def _rows_of(self, looks: Tensor) -> Tensor:
        """What is multiplied with what stands beside 1, to give 1 less the products."""
        missing = looks.new_zeros(-len(looks) % GROUP, looks.shape[1])
        return torch.cat([self._beside(looks, 1), self._beside(missing, NOWHERE)])

    def _beside(self, looks: Tensor, number: float) -> Tensor:
        """Looks and, beside each, a number, in that many columns that are multiplied soonest."""
        columns = pad(looks, (0, 1), value=number)
        return pad(columns, (0, -columns.shape[1] % MULTIPLE)).to(self._type)

    def _error(self, asked: Tensor) -> Tensor:
        """By how much a product may be wrong before it is rounded itself, (M,)."""
        lost = self._rounding(asked)
        error: Tensor = lost + (1 + lost) * self._lost + 2 * BY_ADDING
        return error

    def _rounding(self, looks: Tensor) -> Tensor:
        """How long what is lost of each look is, (N,)."""
        lost: Tensor = vector_norm(looks - looks.to(self._type), dim=1)
        return lost


def _where(numbers: Tensor, most: Tensor) -> tuple[Rows, Rows]:
    """The rows and the columns of numbers (N, M) that are at most `most`, (M,).

    NumPy compares whole numbers, and finds what is true, in a third of the time.
    """
    found = np.flatnonzero(numbers.numpy() <= most.numpy())
    return np.divmod(found, numbers.shape[1])


def _near(one: Rows, products: Numbers, margin: float) -> Rows:
    """Where the products are, but for the margin, the greatest of each of `one`, which ascend."""
    starts = np.flatnonzero(np.diff(one, prepend=-1))
    most = np.maximum.reduceat(products, starts) if len(one) else products
    return np.flatnonzero(products >= np.repeat(most, np.diff(starts, append=len(one))) - margin)


def _least_away(one: Rows, other: Rows, away: Away | None) -> Rows:
    """Of each of `one`, which ascend, where the one least away is, and of those the first."""
    far = np.zeros(len(one))
    if away:
        alone = np.diff(one, prepend=-1).astype(bool) & np.diff(one, append=-1).astype(bool)
        several = np.flatnonzero(~alone)
        far[several] = away(one[several], other[several])
    order: Rows = np.lexsort((other, far, one))
    best: Rows = order[np.flatnonzero(np.diff(one, prepend=-1))]
    return best


_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""Whole numbers of the same width."""


@functools.cache
def product_type() -> torch.dtype:
    """In what matrices are multiplied soonest."""
    has = torch.cpu.get_capabilities()
    return torch.bfloat16 if has.get("amx_bf16") or has.get("avx512_bf16") else torch.float32
