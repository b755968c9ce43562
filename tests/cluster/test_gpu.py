"""What the GPUs have used, as NVML counts it; without NVML nobody says a figure."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cluster import gpu
from cluster.gpu import Nvml, visible_gpus
from cluster.meter import Usage, metered
from jobs.economics import Economics, account


class Counting:
    """What is asked of NVML, of GPUs that take a watt and are half busy until they are silent."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.silent, self.asked = False, 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:
        if self.silent:
            raise self.NVMLError
        return int(1000 * time.monotonic())

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        self.asked += 1
        if self.silent:
            raise self.NVMLError
        return SimpleNamespace(gpu=50)


def wait_for(nvml: Counting, looks: int) -> None:
    until = nvml.asked + looks
    while nvml.asked < until:
        time.sleep(0.001)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(gpu, "LOOK_SECONDS", 0.01)
    return Counting()


def test_energy_and_load_of_all_gpus_are_added_up(nvml: Counting) -> None:
    counter = Nvml(nvml, ["first", "second"])
    wait_for(nvml, looks=9)
    counter.close()
    busy, joules = counter.read()

    assert busy is not None
    assert busy * 100 == pytest.approx(nvml.asked // 2)
    assert joules == pytest.approx(2 * time.monotonic(), abs=1)


def test_a_gpu_that_falls_silent_ends_no_work_and_has_no_figures(nvml: Counting) -> None:
    counter = Nvml(nvml, ["only"])
    nvml.silent = True
    wait_for(nvml, looks=1)
    counter.close()

    assert counter.read() == (None, None)


@pytest.mark.parametrize("missing", ["package", "driver"])
def test_without_nvml_the_energy_is_an_estimate_and_said_to_be(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "package":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    else:
        import pynvml

        def no_driver() -> None:
            raise pynvml.NVMLError_LibraryNotFound

        monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    with metered(cpus=1, gpus=1) as meter:
        pass

    assert (meter.usage.gpu_busy_seconds, meter.usage.gpu_joules) == (None, None)
    held = Usage(gpu_held_seconds=3600, gpu_busy_seconds=None, gpu_joules=None)
    night = account(held, Economics(cpu_hour=0, watts_per_gpu=250), made=1, accepted=1)
    assert night.kwh == 0.25
    assert night.gpu_busy is None
    assert "GPUs: estimate, 250 W for each that is held" in night.method


@pytest.mark.gpu
def test_a_gpu_that_works_takes_energy() -> None:
    pytest.importorskip("pynvml")
    counter = visible_gpus(1)
    before = counter.read()
    one = torch.rand(4096, 4096, device="cuda")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        one = (one @ one).tanh()
        torch.cuda.synchronize()
    after = counter.read()
    counter.close()

    assert None not in (*before, *after)
    busy, joules = (late - early for early, late in zip(before, after, strict=True))  # type: ignore[operator]
    # No accelerator that works takes less than 20 W or more than 2,000.
    assert 60 < joules < 6000
    assert 1 < busy < 4
