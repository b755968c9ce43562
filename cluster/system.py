"""How busy the machine is: sampled in a thread, reported beside the figures of the training.

The names are those of MLflow's own system metrics, so that its pages know them. Its thread is not
used: it speaks to the server itself, and what it says while that is down is lost.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import torch

SYSTEM = "system/"
"""Before the names of these figures. As those of the clock they differ from run to run."""
SAMPLE_SECONDS = 1.0
MEGABYTE = 1e6

log = logging.getLogger(__name__)


class SystemWatch:
    """Samples the processors, the memory, the disk of `folder`, and the GPU if `device` is one.

    In a thread, because a disk of the network may let who asks it wait for minutes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder, self._device = folder, device
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._count, self._lock, self._done = 0, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()

    def figures(self) -> dict[str, float]:
        """The means of what was sampled since the last call; nothing if nothing was."""
        with self._lock:
            means = {f"{SYSTEM}{name}": total / self._count for name, total in self._sums.items()}
            self._sums.clear()
            self._count = 0
        return means

    def _watch(self) -> None:
        # What it says is the share since the call before; of the first one there is none.
        psutil.cpu_percent()
        try:
            while not self._done.wait(SAMPLE_SECONDS):
                self._add({**sample(self._folder), **gpu_sample(self._device)})
        except (OSError, RuntimeError, psutil.Error) as error:
            log.warning("the machine can no longer be watched: %s", error)

    def _add(self, found: Mapping[str, float]) -> None:
        with self._lock:
            self._count += 1
            for name, value in found.items():
                self._sums[name] += value


def sample(folder: Path) -> dict[str, float]:
    """Processors and memory of the whole machine, and the disk that holds `folder`."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system_memory_usage_percentage": memory.percent,
        "disk_usage_percentage": disk.percent,
        "disk_available_megabytes": disk.free / MEGABYTE,
    }


def gpu_sample(device: torch.device) -> dict[str, float]:
    """Memory and utilisation of a GPU; nothing for another device.

    torch asks NVML for the latter, and says none where its Python package is not installed.
    """
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    found = {
        "memory_usage_megabytes": (total - free) / MEGABYTE,
        "memory_usage_percentage": 100 * (total - free) / total,
    }
    with suppress(ModuleNotFoundError):
        found["utilization_percentage"] = float(torch.cuda.utilization(device))
    return {f"gpu_{device.index or 0}_{name}": value for name, value in found.items()}
