"""Locks on files, which the end of a process gives back, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aigc.data.files import unwritable


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, after waiting for whoever holds it.

    It is free again when the process ends, however it ends. Raises WorkspaceUnwritable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as error:
        raise unwritable(path, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def taken(lock: IO[str], patience: float) -> bool:
    """Whether the lock could be had within so many seconds."""
    last = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= last:
                return False
            time.sleep(0.02)
        else:
            return True
