"""The metric journal of a run: append-only JSON lines, the truth that MLflow gets a copy of.

{"step": 50, "time": 1764000000123, "figures": {"generator/loss": 0.61}}
{"step": 500, "time": 1764000001456, "picture": "samples/step-00000500.png"}
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aigc.data.files import unwritable
from aigc.errors import DataError

SYNC_SECONDS = 1.0
"""At most this much of the journal is lost when the machine loses its power."""


class Journal:
    """The writing end. A step that is there already is not written again, so that the steps which
    a resumed run repeats from its checkpoint appear once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        self._last = {kind: -1 for kind in ("figures", "picture")}
        for entry in JournalReader(path).new():
            self._last[_kind(entry)] = entry["step"]
        self._file = path.open("a", encoding="utf-8")
        self._synced = time.monotonic()

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Append the figures of a step. Raises WorkspaceUnwritable."""
        self._append({"step": step, "time": _now(), "figures": dict(figures)})

    def show(self, step: int, picture: str) -> None:
        """Append a picture's path, relative to the run's folder."""
        self._append({"step": step, "time": _now(), "picture": picture})

    def sync(self) -> int:
        """Bring everything to the disk. Returns how many bytes that is."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()
        return self._file.tell()

    def close(self) -> None:
        """Bring everything to the disk, and end."""
        self.sync()
        self._file.close()

    def _append(self, entry: dict[str, Any]) -> None:
        kind = _kind(entry)
        if entry["step"] <= self._last[kind]:
            return
        self._last[kind] = entry["step"]
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise unwritable(Path(self._file.name), error) from error


@dataclass
class JournalReader:
    """The reading end: remembers how far it has read."""

    path: Path
    offset: int = field(default=0)

    def new(self) -> list[dict[str, Any]]:
        """The complete entries since the last call, in their order. Raises DataError."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            complete = file.read().rpartition(b"\n")[0]
        if not complete:
            return []
        try:
            entries = [json.loads(line) for line in complete.splitlines()]
        except ValueError as error:
            raise DataError(
                f"the journal {self.path} holds a line that is no JSON",
                "Remove the line; the figures of the other steps stay",
            ) from error
        self.offset += len(complete) + 1
        return entries


def _drop_torn_line(path: Path) -> None:
    """A process killed in mid-write leaves half a line at the end."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))


def _kind(entry: Mapping[str, Any]) -> str:
    return "figures" if "figures" in entry else "picture"


def _now() -> int:
    return time.time_ns() // 1_000_000
