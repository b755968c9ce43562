"""The reading end of a run's logs: one of them, or all in the order of their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cluster.errors import LogNotFound

SUFFIX = ".log"
_MESSAGE = re.compile(r"^(?=\d{4}-\d\d-\d\dT)", re.MULTILINE)
"""Where a message begins; the lines of its traceback begin with no time."""

Message = tuple[datetime, str]


@dataclass
class LogReader:
    """What processes of a run have said, or one of them if `who` is given, as driver or worker-0.

    It remembers how far it has read.
    """

    folder: Path
    who: str | None
    _offsets: dict[Path, int] = field(default_factory=dict)
    _times: dict[Path, datetime] = field(default_factory=dict)

    def require(self) -> None:
        """Raises LogNotFound where there is nothing to read."""
        if any(path.is_file() for path in self._files()):
            return
        there = ", ".join(path.stem for path in self._all())
        raise LogNotFound(
            f"{self.folder} has no log of {self.who or 'anybody'}",
            f"There is one of: {there}"
            if there
            else "It comes when the job begins: follow with -f",
        )

    def new(self) -> list[str]:
        """Whole lines that have been said since the last call, message after message."""
        said = [each for path in self._files() for each in self._messages(path)]
        return [text for _, text in sorted(said, key=lambda each: each[0])]

    def _files(self) -> list[Path]:
        return self._all() if self.who is None else [self.folder / f"{self.who}{SUFFIX}"]

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def _messages(self, path: Path) -> Iterator[Message]:
        for text in _MESSAGE.split(self._text(path)):
            if text:
                yield self._time(path, text), text

    def _time(self, path: Path, text: str) -> datetime:
        """When it was said, and never before what stands above it."""
        before = self._times.get(path, datetime.min.replace(tzinfo=UTC))
        with suppress(ValueError, OverflowError):
            said = datetime.fromisoformat(text.partition(" ")[0]).astimezone()
            self._times[path] = max(before, said)
        return self._times.get(path, before)

    def _text(self, path: Path) -> str:
        """The whole lines behind what was read before."""
        with suppress(OSError), path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            said = file.read()
            said = said[: said.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(said)
            return said.decode(errors="replace")
        return ""
