"""What every format of media files promises: that a label put into it can be read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from aigc.generation.byte_rows import Rows, beside, rows_of
from aigc.generation.labels.label import Label
from aigc.seeding import Integers


class Carrier(Protocol):
    """A format of media files, and the place in it that the standard gives the label."""

    def write(self, media: bytes, label: Label) -> bytes:
        """The file with the label in it; the same bytes every time. Raises LabelMalformed."""
        return self.put(rows_of([media]), rows_of([self.expressed(label)])).tobytes()

    def read(self, media: bytes) -> Label:
        """The label of a file. Raises Unlabelled, LabelForeign, LabelMalformed, nothing else."""
        return self.understood(self.found(rows_of([media])).tobytes())

    def expressed(self, label: Label) -> bytes:
        """What the format says the label by. The labels of two samples differ by their ids."""
        ...

    def put(self, media: Rows, expressed: Rows) -> Rows:
        """Files (N, L) with what is said of each, (N, K), in its place, their content untouched.

        Raises LabelMalformed when they cannot take it.
        """
        ...

    def found(self, media: Rows) -> Rows:
        """What stands in each file where the first one has its label.

        Raises Unlabelled, LabelMalformed.
        """
        ...

    def understood(self, expressed: bytes) -> Label:
        """The label that it says. Raises Unlabelled, LabelForeign, LabelMalformed."""
        ...


def expressions(carrier: Carrier, label: Label) -> Callable[[Integers], Rows]:
    """What says the labels of samples (N,) of the dataset that has the `label`, when it is asked
    for those whose ids have equally many digits.

    They are made of one, in which the id is exchanged: digits mean themselves in every format.
    """
    whole, first = carrier.expressed(label), carrier.expressed(label.of_sample(0))
    # The dataset's expression goes on with what closes its id, a sample's with a slash.
    place = next(place for place, byte in enumerate(whole) if byte != first[place])
    before, after = whole[:place] + b"/", whole[place:]

    def of(samples: Integers) -> Rows:
        powers = 10 ** np.arange(len(str(samples[0])))[::-1]
        digits = samples[:, None] // powers % 10 + ord("0")
        return beside(before, digits.astype(np.uint8), after)

    return of
