"""Who began a piece of work, and who never came back: workers that were lost, and work done twice.

begun/DRIVER/MARK          a worker is at it, or was when it died
begun/DRIVER/MARK.ended    it came to an end, well or not
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.places import Input, Mapper, Output
from cluster.resources import Resources
from cluster.tails import whole

ENDED = ".ended"


@dataclass(frozen=True)
class Piece:
    """A piece of work: what it was, which one, and the process that had begun it."""

    work: str
    number: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"{self.work} {self.number} (process {self.pid} on {self.host})"


class Attended:
    """Gives work to a place, and notes in the folder `begun` who begins a piece and who ends it.

    The notes of earlier drivers of the same work are kept until `forget`.
    """

    def __init__(self, place: Mapper, begun: Path) -> None:
        self._place, self._begun = place, begun
        self._mine = begun / secrets.token_hex(8)
        self._returned = 0

    def map(
        self, function: Callable[[Input], Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """What the place makes of each input."""
        work = _noted(function, self._mine)
        for result in self._place.map(work, list(enumerate(inputs)), resources):
            self._returned += 1
            yield result

    def lost(self) -> list[Piece]:
        """The pieces whose workers never came to an end, of earlier drivers too."""
        marks = (mark for mark in sorted(self._begun.glob("*/*")) if mark.suffix != ENDED)
        return [Piece(**said) for mark in marks if (said := whole(mark))]

    @property
    def repeated(self) -> int:
        """How many pieces were brought to an end by a second worker, too."""
        return max(0, len(list(self._mine.glob(f"*{ENDED}"))) - self._returned)

    def forget(self) -> None:
        """Remove the notes."""
        shutil.rmtree(self._begun, ignore_errors=True)


def _noted(
    function: Callable[[Input], Output], folder: Path
) -> Callable[[tuple[int, Input]], Output]:
    @functools.wraps(function)
    def call(given: tuple[int, Input]) -> Output:
        number, asked = given
        work = function.__name__.replace("_", " ")
        with _begun(folder, Piece(work, number, socket.gethostname(), os.getpid())):
            return function(asked)

    return call


@contextmanager
def _begun(folder: Path, piece: Piece) -> Iterator[None]:
    """Note that the piece is begun, and that it has ended; no work fails for want of a note."""
    mark = folder / secrets.token_hex(8)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps(asdict(piece)))
    try:
        yield
    finally:
        with suppress(OSError):
            mark.rename(mark.with_suffix(ENDED))
