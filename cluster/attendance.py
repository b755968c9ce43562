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
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.places import Mapper
from cluster.resources import Resources
from cluster.tails import whole
from cluster.tasks import Input, Output, Task

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
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """What the place makes of each input."""
        noted = _noted(task, self._mine)
        for result in self._place.map(noted, list(enumerate(inputs)), resources):
            self._returned += 1
            yield result

    def lost(self) -> list[Piece]:
        """The pieces whose workers never came to an end, of earlier drivers too."""
        marks = (mark for mark in self._begun.glob("*/*") if mark.suffix != ENDED)
        lost = [Piece(**said) for mark in marks if (said := whole(mark))]
        return sorted(lost, key=lambda piece: (piece.work, piece.number, piece.host, piece.pid))

    @property
    def repeated(self) -> int:
        """How many pieces were brought to an end by a second worker, too."""
        return max(0, len(list(self._mine.glob(f"*{ENDED}"))) - self._returned)

    def forget(self) -> None:
        """Remove the notes."""
        shutil.rmtree(self._begun, ignore_errors=True)


def _noted(task: Task[Input, Output], folder: Path) -> Task[tuple[int, Input], Output]:
    name = task.__name__.replace("_", " ")

    @functools.wraps(task)
    def noting(inputs: Iterator[tuple[int, Input]]) -> Iterator[Output]:
        marks = deque[Path]()

        def begun() -> Iterator[Input]:
            for number, given in inputs:
                marks.append(_begin(folder, Piece(name, number, socket.gethostname(), os.getpid())))
                yield given

        try:
            for result in task(begun()):
                _end(marks.popleft())
                yield result
        finally:
            for mark in marks:
                _end(mark)

    return noting


def _begin(folder: Path, piece: Piece) -> Path:
    """Note that the piece is begun; no work fails for want of a note."""
    mark = folder / secrets.token_hex(8)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps(asdict(piece)))
    return mark


def _end(mark: Path) -> None:
    """Note that it has ended, well or not."""
    with suppress(OSError):
        mark.rename(mark.with_suffix(ENDED))
