"""Randomness as a pure function of (seed, purpose, position): nothing to save, nothing to drift.

A run that was stopped and resumed, or moved to another number of workers, draws the same numbers,
because every step's generator is made anew from the seed and the step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def derive(*parts: int | str) -> int:
    """A 63-bit seed that depends on each of `parts` and on their order."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded with `derive(*parts)`; the same on every device and machine."""
    return torch.Generator().manual_seed(derive(*parts))


class Draws:
    """The random numbers of one step, as this worker sees them.

    Each call draws for the global batch and returns the rows of worker `rank` of `size`, so that
    N workers together use the numbers that one worker with the N-fold batch would have used, and
    no two workers ever share a row. All workers must make the same calls in the same order.
    """

    def __init__(self, seed: int, step: int, rank: int = 0, size: int = 1) -> None:
        self._generator = generator(seed, "step", step)
        self._rank = rank
        self._size = size

    def _mine(self, rows_global: Tensor) -> Tensor:
        return rows_global.chunk(self._size)[self._rank]

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Standard normal, float32, (rows, *shape)."""
        return self._mine(torch.randn(rows * self._size, *shape, generator=self._generator))

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """Uniform on [0, 1), float32, (rows, *shape)."""
        return self._mine(torch.rand(rows * self._size, *shape, generator=self._generator))

    def integers(self, rows: int, high: int) -> Tensor:
        """Uniform on 0 … high − 1, int64, (rows,)."""
        return self._mine(torch.randint(high, (rows * self._size,), generator=self._generator))


def sample_noise(seeds: Sequence[int], size: int) -> Tensor:
    """Standard normal noise, (len(seeds), size): row i depends on `seeds[i]` alone."""
    source = torch.Generator()
    return torch.stack([torch.randn(size, generator=source.manual_seed(seed)) for seed in seeds])
