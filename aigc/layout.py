"""What a record looks like to a model."""

from __future__ import annotations

import math

from aigc.config import Config


class Layout(Config):
    """The modality, the shape of one record without the batch dimension, and the label names.

    `shape` is (channels, height, width) for images. `labels` is empty when the dataset has none.
    """

    modality: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes a conditional model is given; 0 when there are no labels."""
        return len(self.labels)

    @property
    def size(self) -> int:
        """Numbers in one record."""
        return math.prod(self.shape)
