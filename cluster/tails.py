"""Files of JSON, and the ends of files of JSON lines: what cannot be read is left out.

To look at ten thousand submissions takes half a second only where each costs a few small reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cluster.journal import TAIL_BYTES, Entry

LOOK_BYTES = 4096
"""Read from each end of a file first; nearly always that holds a whole line."""
GROWTH = 16
"""By which the next look is larger, where it did not."""
_DECODER = json.JSONDecoder()


def ends(path: Path | str) -> tuple[Entry | None, Entry | None]:
    """The first and the last whole entry; None for one that cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None, None
    try:
        head = tail = os.pread(descriptor, LOOK_BYTES, 0)
        if len(head) == LOOK_BYTES:
            size = os.fstat(descriptor).st_size
            head = _looked_at(descriptor, size, at_end=False)
            tail = _looked_at(descriptor, size, at_end=True)
    except OSError:
        return None, None
    finally:
        os.close(descriptor)
    return _parsed(head[: head.find(b"\n") + 1]), _parsed(_last_line(tail))


def last(path: Path) -> Entry | None:
    """The last whole entry; None where it cannot be read."""
    return ends(path)[1]


def entries(path: Path) -> Iterator[Entry]:
    """All whole entries."""
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            if (entry := _parsed(line)) is not None:
                yield entry


def last_entries(path: Path) -> list[Entry]:
    """The whole entries of the last 64 KiB."""
    with suppress(OSError), path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        lines = file.read().splitlines(keepends=True)[1 if start else 0 :]
        return [entry for line in lines if (entry := _parsed(line)) is not None]
    return []


def whole(path: Path) -> Entry:
    """The JSON object that a file is; empty where there is none that can be read."""
    with suppress(OSError):
        return _object(path.read_bytes()) or {}
    return {}


def _last_line(tail: bytes) -> bytes:
    """Its last whole line."""
    end = tail.rfind(b"\n")
    return tail[tail.rfind(b"\n", 0, max(end, 0)) + 1 : end + 1]


def _looked_at(descriptor: int, size: int, at_end: bool) -> bytes:
    """So much of one end of the file that a whole line is in it, if there is one.

    At the end that takes two ends of lines: that of the line before is where it begins.
    """
    look, wanted = min(size, LOOK_BYTES), 2 if at_end else 1
    while True:
        read = os.pread(descriptor, look, size - look if at_end else 0)
        if look == size or read.count(b"\n") >= wanted:
            return read
        look = min(size, GROWTH * look)


def _parsed(line: bytes) -> Entry | None:
    return _object(line) if line.endswith(b"\n") else None


def _object(content: bytes) -> Entry | None:
    try:
        text = content.decode().strip()
        # Half the time of json.loads, for so short texts.
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) and isinstance(value, dict) else None
