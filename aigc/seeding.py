"""Randomness as a pure function of (seed, purpose, position): nothing to save, nothing to drift.

A run that was stopped and resumed, or moved to another number of workers, draws the same numbers,
because every step's generator is made anew from the seed and the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc.seeds import derive

Integers = NDArray[np.int64]

STEP, ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)
HALF, LOW = np.uint64(32), np.uint64(2**32 - 1)
"""A number of 64 bits is two of 32."""


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


def derive_many(seed: int, positions: Sequence[int]) -> Integers:
    """A 63-bit seed for each of `positions`, int64, (len(positions),): those of SplitMix64.

    A night asks for hundreds of thousands, and `derive` takes a microsecond for each.
    """
    return (_mixed(seed, np.asarray(positions, np.int64)) >> np.uint64(1)).view(np.int64)


def sample_noise(seeds: Sequence[int] | Integers, size: int) -> Tensor:
    """Standard normal noise, float32, (len(seeds), size): row i depends on `seeds[i]` alone.

    Box and Muller's transform of the numbers of SplitMix64, the pairs of all rows at once.
    """
    pairs = -(-size // 2)
    words = _mixed(np.asarray(seeds, np.int64)[:, None], np.arange(pairs))
    # torch's sines take a sixth of NumPy's time.
    upper, lower = _doubles((words >> HALF) + ONE), _doubles(words & LOW)
    radius = upper.mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = lower.mul_(2 * math.pi * 2.0**-32)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :size].float()


def _mixed(seed: int | Integers, positions: Integers) -> NDArray[np.uint64]:
    """The numbers of SplitMix64 (Steele, Lea & Flood 2014), begun with `seed`, at `positions`."""
    state = np.asarray(seed, np.int64).view(np.uint64) + STEP * (positions.view(np.uint64) + ONE)
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = state ^ state >> np.uint64(31)
    return mixed


def _doubles(numbers: NDArray[np.uint64]) -> Tensor:
    """Numbers of 32 bits as float64."""
    return torch.from_numpy(numbers.view(np.int64)).double()
