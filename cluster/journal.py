"""Files of JSON lines that only grow, and the metric journal of a run, which is one.

{"step": 50, "time": 1764000000123, "figures": {"generator/loss": 0.61}}
{"step": 500, "time": 1764000001456, "picture": "samples/step-00000500.png"}

`time` is what the writer's clock said, in milliseconds since 1970: nothing depends on its order.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from aigc.data.files import unwritable
from aigc.errors import DataError
from cluster.beside import beside

Entry = dict[str, Any]

SYNC_SECONDS = 1.0
"""At most this much of the journal is lost when the machine loses its power."""
FOLLOW_SECONDS = 0.5
"""Between two looks for new entries."""
TAIL_BYTES = 2**16


class Lines:
    """The writing end of a file of JSON lines: each is there whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.size = whole_bytes(path)
            self._file = path.open("ab", buffering=0)
            self._file.truncate(self.size)
        except OSError as error:
            raise unwritable(path, error) from error

    def append(self, line: str) -> None:
        """Add a line, which a process killed now leaves behind. Raises WorkspaceUnwritable."""
        rest = content = line.encode() + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self.size)
            raise unwritable(self.path, error) from error
        self.size += len(content)

    def sync(self) -> None:
        """Bring everything to the disk. Raises WorkspaceUnwritable."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Bring everything to the disk, and end. Raises WorkspaceUnwritable."""
        try:
            self.sync()
        finally:
            self._file.close()


class Journal:
    """The writing end of the metric journal.

    A step that is there already is not written again, so that the steps which a resumed run repeats
    from its checkpoint appear once. A thread brings the lines to the disk: a step waits for none.
    """

    def __init__(self, path: Path) -> None:
        self._last = {"figures": -1, "picture": -1}
        for entry in JournalReader(path):
            self._last["figures" if "figures" in entry else "picture"] = _step_of(entry, path)
        self._lines = Lines(path)
        self._done = threading.Event()
        self._refusal: Exception | None = None
        self._syncing = threading.Thread(target=self._sync_on, name="journal-sync", daemon=True)
        self._syncing.start()

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Append the figures of a step. Raises WorkspaceUnwritable."""
        self._append("figures", step, dict(figures))

    def show(self, step: int, picture: str) -> None:
        """Append a picture's path, relative to the run's folder. Raises WorkspaceUnwritable."""
        self._append("picture", step, picture)

    def sync(self) -> int:
        """Bring everything to the disk. Returns how many bytes that is."""
        self._lines.sync()
        return self._lines.size

    def close(self) -> None:
        """Bring everything to the disk, and end."""
        self._done.set()
        self._syncing.join()
        self._lines.close()

    def _append(self, kind: str, step: int, value: dict[str, float] | str) -> None:
        if self._refusal is not None:
            raise self._refusal
        if step <= self._last[kind]:
            return
        content = json.dumps(value)
        self._lines.append(f'{{"step": {step}, "time": {now()}, "{kind}": {content}}}')
        self._last[kind] = step

    def _sync_on(self) -> None:
        synced = self._lines.size
        while not self._done.wait(SYNC_SECONDS):
            if (size := self._lines.size) == synced:
                continue
            try:
                self._lines.sync()
            except Exception as error:  # for the thread that writes, which is to hear of it
                self._refusal = error
                return
            synced = size


@dataclass
class JournalReader:
    """The reading end of a file of JSON lines: `offset` is how many bytes it has read."""

    path: Path
    offset: int = field(default=0)

    def __iter__(self) -> Iterator[Entry]:
        """The complete entries from `offset` on, one in memory at a time. Raises DataError."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                entry = self._parsed(line)
                self.offset += len(line)
                yield entry

    def new(self) -> list[Entry]:
        """The complete entries since the last call, in their order. Raises DataError."""
        return list(self)

    def _parsed(self, line: bytes) -> Entry:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise damaged(self.path, "is no JSON object")
        return entry


@contextmanager
def following(journal: Path, hear: Callable[[list[Entry]], None]) -> Iterator[None]:
    """Tell `hear` of new entries, in a thread of its own, while the block runs."""
    reader = JournalReader(journal)

    def follow(halt: threading.Event) -> None:
        going_on = True
        # Whoever writes a journal that is damaged raises the same.
        with suppress(DataError):
            while going_on:
                going_on = not halt.wait(FOLLOW_SECONDS)
                if entries := reader.new():
                    hear(entries)

    with beside(follow, "journal-follower"):
        yield


def damaged(path: Path, how: str) -> DataError:
    """The error of a file of JSON lines of which one `how`."""
    return DataError(
        f"the journal {path} holds a line that {how}", "Remove the line; the other entries stay"
    )


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number of 64 bits: what has more is damage, and breaks arithmetic."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_report(entry: Entry) -> bool:
    """Whether it has the figures of a step, and no damage."""
    figures = entry.get("figures")
    if not isinstance(figures, dict) or not all(is_count(entry.get(k)) for k in ("step", "time")):
        return False
    return all(isinstance(each, int | float) for each in figures.values())


def _step_of(entry: Entry, path: Path) -> int:
    step = entry.get("step")
    if not is_count(step):
        raise damaged(path, "says no step")
    return step


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def whole_bytes(path: Path) -> int:
    """How many bytes of the file are whole lines: a writer that was killed may have left half a
    one. 0 when there is no file."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
