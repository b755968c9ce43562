"""What a process that computes is set to."""

from __future__ import annotations

import ctypes

import torch

from cluster.resources import Resources

KEPT_BYTES, KEPT_BYTES_OF_OLD = 2**30, 2**25
"""Freed memory that a process keeps for its next allocations; glibc before 2.35 refuses more."""

ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
}
"""The same for a process whose work is done by another thread than its first, as Ray's is: such a
thread's memory goes back to the kernel, unless it has to share the first one's."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt(3)."""


def settle(resources: Resources) -> None:
    """Give this process the threads of one worker, and let it keep the memory that it frees.

    By default glibc returns the arrays of each step to the kernel, which clears their pages for
    the next step: a seventh of the time of a small network on a processor.
    """
    torch.set_num_threads(resources.cpus_per_worker)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(_MMAP_THRESHOLD, KEPT_BYTES_OF_OLD)
