"""How busy the GPUs of this process were, and what energy they took, as NVML counts it."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch

LOOK_SECONDS = 0.5
"""Between two looks at how busy they are: NVML says it of the last fraction of a second."""
MILLIJOULES = 1000


class GpuCounter(Protocol):
    """Counts up from some beginning."""

    def read(self) -> tuple[float | None, float | None]:
        """Busy seconds, of all GPUs together, and joules; None for what nobody can say."""

    def close(self) -> None:
        """Stop counting."""


class _Steady:
    """A counter that always says the same."""

    def __init__(self, said: float | None) -> None:
        self._said = said

    def read(self) -> tuple[float | None, float | None]:
        return self._said, self._said

    def close(self) -> None:
        return None


def no_gpu() -> GpuCounter:
    """Of work that holds none."""
    return _Steady(0.0)


def visible_gpus(count: int) -> GpuCounter:
    """Of the first `count` GPUs that this process sees; it can say nothing without NVML.

    NVML is asked through the package nvidia-ml-py, where it is installed.
    """
    try:
        import pynvml

    except ModuleNotFoundError:
        return _Steady(None)
    try:
        pynvml.nvmlInit()
        return Nvml(pynvml, [_handle(pynvml, index) for index in range(count)])
    except pynvml.NVMLError:
        return _Steady(None)


class Nvml:
    """The energy counter of each GPU, and its utilisation, looked at from a thread.

    What a GPU does not count, or stops telling, is None: no work ends for that.
    """

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml, self._handles = nvml, handles
        self._busy: float | None = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu-meter", daemon=True)
        self._thread.start()

    def read(self) -> tuple[float | None, float | None]:
        """As GpuCounter has it."""
        counted = map(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handles)
        try:
            return self._busy, sum(counted) / MILLIJOULES
        except self._nvml.NVMLError:
            return self._busy, None

    def close(self) -> None:
        """As GpuCounter has it."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        busy = 0.0
        try:
            while not self._done.wait(LOOK_SECONDS):
                rates = map(self._nvml.nvmlDeviceGetUtilizationRates, self._handles)
                busy += LOOK_SECONDS * sum(rate.gpu for rate in rates) / 100
                self._busy = busy
        except self._nvml.NVMLError:
            self._busy = None


def _handle(nvml: Any, index: int) -> Any:
    """NVML numbers all GPUs of the machine, torch those that the process may use."""
    uuid = torch.cuda.get_device_properties(index).uuid
    return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
