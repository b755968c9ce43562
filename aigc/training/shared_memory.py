"""Numbers that all workers of one machine see."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from aigc.training.world import World

MEMORY = Path("/dev/shm")
"""Files here are memory. Where there is no such folder, nothing is shared."""


def share(count: int, world: World) -> Tensor | None:
    """`count` float32 zeros that every worker reads and writes, or None if not all of them can:
    they are on several machines, or the memory has no room left.

    The file has lost its name when this returns, so that a killed worker leaves nothing behind.
    """
    path = _create(4 * count) if world.is_first else None
    box = [path]
    dist.broadcast_object_list(box)
    shared = _open(box[0], count)
    everybody = torch.tensor(float(shared is not None))
    whole = bool(world.mean(everybody) == 1)
    if path is not None:
        path.unlink()
    return shared if whole else None


def _create(size: int) -> Path | None:
    """A file whose room is taken now: memory that is missing later is a SIGBUS, not an error."""
    with suppress(OSError):
        descriptor, name = tempfile.mkstemp(prefix="aigc-", dir=MEMORY)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.unlink(name)
            raise
        finally:
            os.close(descriptor)
        return Path(name)
    return None


def _open(path: Path | None, count: int) -> Tensor | None:
    if path is None or not path.exists():
        return None
    return torch.from_file(str(path), shared=True, size=count)
