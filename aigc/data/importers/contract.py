"""What an importer is: it cuts a source into parts, and reads the raw records of one part.

Both are functions of the source alone, so that it does not matter where a part is read.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc.data.cleaning import Rejected
from aigc.errors import first_line

PART_BYTES = 64 * 2**20
PART_FILES = 1024
"""What is converted at once: small enough for any memory, large enough to be worth a start."""

UNREADABLE = (
    OSError,
    EOFError,
    OverflowError,
    ValueError,
    zlib.error,
    pa.ArrowException,
    csv.Error,
)
"""What reading a damaged file raises."""


@dataclass(frozen=True)
class Options:
    """How a source is to be read; what an importer has no use for must be left as it is.

    `shape` and `resize` are for images, `column` and `label` for tables; `length` is the bytes of
    a record of text, and makes a table's column text rather than images.
    """

    shape: tuple[int, ...] | None = None
    resize: bool = False
    column: str | None = None
    label: str | None = None
    length: int | None = None


@dataclass(frozen=True)
class Part:
    """What is read at once: whole files, or `start` … `stop` of one file in the importer's unit.

    `files` are relative to the source, `bytes` is about what must be read.
    """

    files: tuple[str, ...] = ()
    start: int = 0
    stop: int | None = None
    bytes: int = 0


class Raw(NamedTuple):
    """A record as it was found: where, what, its class, and the byte of the document it is from.

    `value` is the bytes of an image file or of a document, a string, or numbers. Either may be
    `Rejected`, which says why it cannot be had.
    """

    origin: str
    value: bytes | str | NDArray[np.generic] | Rejected | None
    label: str | Rejected | None = None
    start: int = 0


class Importer(Protocol):
    """One way to read one kind of source. Plain data: it travels between processes."""

    @property
    def origin(self) -> str:
        """What is read, for the manifest."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, () when there are none, None when the records will tell."""

    def parts(self) -> list[Part]:
        """The source in parts, in the order of its records. Raises ImportRefused."""

    def read(self, part: Part) -> Iterator[Raw]:
        """The records of a part in their order.

        One that cannot be had, or several that are lost together, are yielded as `Rejected`; a
        part that cannot be read on raises it, or one of `UNREADABLE`: its rest is lost, and counts
        as one record, because nobody knows how many there were.
        """


def lost(count: int, error: Exception) -> Rejected:
    """Why `count` records cannot be read; a damaged file may say that there are less than one."""
    count = max(1, count)
    return Rejected("unreadable", f"records lost: {count}; {first_line(error)}", count)
