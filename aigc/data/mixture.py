"""Several datasets of one layout in every batch, by their shares."""

from __future__ import annotations

from collections.abc import Iterator

from aigc.data.catalog import Dataset
from aigc.errors import DataError
from aigc.layout import Layout

SHOWN = 5
"""Names of labels in an error."""


class Mixture:
    """`dataset`, with others that take their `shares` of every batch; the rest is its own.

    Shares are rounded to whole records of a batch, so that every batch has the same mixture and
    the stream can begin at any of them. Raises DataError when layouts differ or shares leave
    nothing.
    """

    def __init__(self, dataset: Dataset, *others: tuple[Dataset, float]) -> None:
        self.dataset, self._others = dataset, others
        for other, _ in others:
            if other.manifest.layout != dataset.manifest.layout:
                raise DataError(
                    f"{other.reference} has records of {_shown(other.manifest.layout)}, "
                    f"{dataset.reference} of {_shown(dataset.manifest.layout)}",
                    "Mix datasets of one shape and with the same labels",
                )

    @property
    def layout(self) -> Layout:
        """What every record looks like."""
        return self.dataset.manifest.layout

    def parts(self, batch_size: int) -> Iterator[tuple[Dataset, int]]:
        """Each dataset with its records of every batch. Raises DataError when one has none."""
        counts = [round(share * batch_size) for _, share in self._others]
        counts.insert(0, batch_size - sum(counts))
        datasets = [self.dataset, *(dataset for dataset, _ in self._others)]
        for dataset, count in zip(datasets, counts, strict=True):
            if count < 1:
                raise DataError(
                    f"{dataset.reference} would have no record in a batch of {batch_size}",
                    "Give it a larger share, or enlarge training.batch_size",
                )
            yield dataset, count


def _shown(layout: Layout) -> str:
    labels = f"{layout.classes} labels" if layout.labels else "no labels"
    names = f" ({', '.join(layout.labels[:SHOWN])} …)" if layout.labels else ""
    return f"{layout.modality} {'×'.join(map(str, layout.shape))} with {labels}{names}"
