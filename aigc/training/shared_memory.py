"""Numbers that all workers of one machine see, and how these workers wait for each other."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from aigc.training.world import World

MEMORY = Path("/dev/shm")
"""Files here are memory. Where there is no such folder, nothing is shared."""
PATIENCE_SECONDS = 1800.0
"""For a worker that is alive and silent; gloo's own."""

NUMBERS = "numbers"


class Neighbours:
    """All workers, on one machine: `numbers` that each of them reads and writes.

    They wait for each other by a byte to every other one and a byte from it. Gloo's threads would
    do it in five times the time, on the cores that compute.
    """

    def __init__(self, numbers: Tensor, others: Sequence[socket.socket]) -> None:
        self.numbers, self._others = numbers, others

    def wait(self) -> None:
        """Until all workers have come here as often. Raises DistNetworkError if one is gone."""
        try:
            for other in self._others:
                other.sendall(b"\0")
            heard = [other.recv(1) for other in self._others]
        except OSError as error:
            raise dist.DistNetworkError(f"another worker cannot be heard: {error}") from error
        if not all(heard):
            raise dist.DistNetworkError("another worker of this machine is gone")


def share(count: int, world: World) -> Neighbours | None:
    """`count` float32 zeros for all workers, or None if not all of them can see them: they are on
    several machines, or the memory has no room left.

    Nothing here has a name when this returns, so that a killed worker leaves nothing behind.
    """
    folder = _create(4 * count) if world.is_first else None
    box = [folder]
    dist.broadcast_object_list(box)
    found = _enter(box[0], count, world.rank)
    everybody = bool(world.mean(torch.tensor(float(found is not None))) == 1)
    neighbours = None
    if found is not None:
        numbers, door = found
        if everybody:
            neighbours = Neighbours(numbers, _meet(door, world))
            neighbours.wait()
        door.close()
    if folder is not None:
        shutil.rmtree(folder)
    return neighbours


def _create(size: int) -> Path | None:
    """A folder with a file whose room is taken now: memory that is missing later is a SIGBUS, not
    an error."""
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="aigc-", dir=MEMORY))
        try:
            with (folder / NUMBERS).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            shutil.rmtree(folder)
            raise
        return folder
    return None


def _enter(folder: Path | None, count: int, rank: int) -> tuple[Tensor, socket.socket] | None:
    """The numbers, and where the workers of higher ranks find this one; None if they cannot be
    seen from here, or if the folder's name is longer than a socket's can be."""
    if folder is None or not folder.exists():
        return None
    numbers = torch.from_file(str(folder / NUMBERS), shared=True, size=count)
    door = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        door.bind(str(folder / str(rank)))
        door.listen()
        return numbers, door
    door.close()
    return None


def _meet(door: socket.socket, world: World) -> list[socket.socket]:
    """A connection with every other worker: those of lower ranks are called, the others call."""
    folder = Path(door.getsockname()).parent
    others = list[socket.socket]()
    for rank in range(world.rank):
        other = socket.socket(socket.AF_UNIX)
        other.connect(str(folder / str(rank)))
        others.append(other)
    door.settimeout(PATIENCE_SECONDS)
    others += [door.accept()[0] for _ in range(world.rank + 1, world.size)]
    for other in others:
        other.settimeout(PATIENCE_SECONDS)
    return others
