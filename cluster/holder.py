"""Who holds a submission: its lock, and the process that has signed it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

CLOCK_SECONDS = 2.0
"""By as much may two readings of when a process was started differ."""


@dataclass(frozen=True)
class Holder:
    """A process: `started`, in seconds since 1970, tells it from later ones with its number."""

    host: str
    pid: int
    started: float

    @property
    def is_near(self) -> bool:
        """Whether it is on this machine."""
        return self.host == socket.gethostname()

    def process(self) -> psutil.Process | None:
        """The process itself, unless it is gone or elsewhere. Signals sent by it reach no other."""
        if not self.is_near:
            return None
        # Only here and below: who lists submissions needs none of it.
        import psutil

        with suppress(psutil.Error, ValueError):  # the latter of a number that no process has
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.started) < CLOCK_SECONDS:
                return found
        return None


def sign(lock: IO[str]) -> None:
    """Write down that this process holds the lock."""
    import psutil

    mine = Holder(socket.gethostname(), os.getpid(), psutil.Process().create_time())
    # No job ends because a full disk does not take it: it can be cancelled by its own means then.
    with suppress(OSError):
        lock.truncate(0)
        lock.write(json.dumps(asdict(mine)))
        lock.flush()


def unsign(lock: IO[str]) -> None:
    """Take the signature away, before the lock is free."""
    with suppress(OSError):
        lock.truncate(0)


def signed(lock: Path) -> Holder | None:
    """Who has signed the lock, if anybody has. Only as true as the lock is held."""
    try:
        found = json.loads(lock.read_bytes())
        return Holder(str(found["host"]), int(found["pid"]), float(found["started"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared: those who only look are not in each other's way.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
