"""Whether samples repeat the training data."""

from __future__ import annotations

from torch import Tensor

from aigc.errors import DataError
from aigc.metrics.distances import nearest_distances


def neighbour_ratio(generated: Tensor, held_out: Tensor, training: Tensor) -> float:
    """How far samples are from their nearest training record, over how far held-out records are.

    The ratio of the two medians in feature space, all (N, D). Below 1 the samples are closer to
    the training data than unseen data are, 0 is copying; well above 1 they are simply far from
    any data. Raises DataError when there is no training record, or when at least half of the
    held-out records are exact copies of training records.
    """
    if not len(training):
        raise DataError(
            "neighbour_ratio needs the features of the training split, and there are none",
            "Extract them from the dataset that the model was trained on.",
        )
    unseen = _median_distance(held_out, training)
    if unseen == 0:
        raise DataError(
            "At least half of the held-out records are exact copies of training records",
            "Import the dataset again with splits that do not overlap.",
        )
    return _median_distance(generated, training) / unseen


def _median_distance(points: Tensor, reference: Tensor) -> float:
    return float(nearest_distances(points, reference).quantile(0.5))
