"""What every format of media files promises: that a label put into it can be read from it."""

from __future__ import annotations

from typing import Protocol

from aigc.generation.labels.label import Label


class Carrier(Protocol):
    """A format of media files, and the place in it that the standard gives the label."""

    def write(self, media: bytes, label: Label) -> bytes:
        """The file with the label in it, its content untouched; the same bytes every time.

        Raises LabelMalformed when the file cannot take it.
        """

    def read(self, media: bytes) -> Label:
        """The label of a file. Raises Unlabelled, LabelForeign, LabelMalformed, nothing else."""
