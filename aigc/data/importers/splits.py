"""Splits by content: which side a record stands on depends on its own bytes alone.

So it never changes sides when the dataset grows, and duplicates always stand on one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc.data.cleaning import Bytes
from aigc.errors import ImportRefused

SPLITS = ("train", "validation", "test")
WORDS = dict(zip(SPLITS, SPLITS, strict=True))
WORDS |= {"valid": "validation", "val": "validation", "dev": "validation"}
"""What splits are called in paths."""


@dataclass(frozen=True)
class Shares:
    """The expected shares of the records that are held out; the rest is for training.

    Raises ImportRefused when nothing would be left.
    """

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if not (min(self.validation, self.test) >= 0 and self.validation + self.test < 1):
            raise ImportRefused(
                f"validation {self.validation} and test {self.test} are no shares of a dataset",
                "Give shares of 0 or more, together below 1",
            )

    def of(self, hashes: Bytes) -> NDArray[np.int64]:
        """The number in `SPLITS` of each record by its SHA-256, uint8 (N, 32)."""
        first = np.zeros((len(hashes), 8), dtype=np.uint8)
        first[:, 2:] = hashes[:, :6]
        place = first.view(">u8").ravel().astype(np.float64) / 2**48
        # From the top down, so that a larger test split takes records from validation only.
        return np.select([place < self.test, place < self.test + self.validation], [2, 1], 0)
