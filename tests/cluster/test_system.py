from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import torch

from cluster.system import SystemWatch, gpu_sample, sample

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.system.SAMPLE_SECONDS", 0.01)


def heard(watch: SystemWatch) -> dict[str, float]:
    """The next figures, which come in a while."""
    for _ in range(500):
        if found := watch.figures():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing was sampled")


def test_a_machine_is_told_of_by_the_names_that_mlflow_knows(tmp_path: Path) -> None:
    with SystemWatch(tmp_path, CPU) as watch:
        found = heard(watch)

    assert set(found) == {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/disk_usage_percentage",
        "system/disk_available_megabytes",
    }
    assert all(0 <= value <= 100 for name, value in found.items() if name.endswith("percentage"))
    free = psutil.disk_usage(str(tmp_path)).free / 1e6
    assert found["system/disk_available_megabytes"] == pytest.approx(free, rel=0.2)
    whole = psutil.virtual_memory().total / 1e6
    assert 0 < found["system/system_memory_usage_megabytes"] < whole


def test_the_mean_of_the_samples_is_told_once(tmp_path: Path) -> None:
    watch = SystemWatch(tmp_path, CPU)
    for value in (10.0, 20.0, 60.0):
        watch._add({"cpu_utilization_percentage": value})

    assert watch.figures() == {"system/cpu_utilization_percentage": 30.0}
    assert watch.figures() == {}
    watch._add({"cpu_utilization_percentage": 80.0})
    assert watch.figures() == {"system/cpu_utilization_percentage": 80.0}


def test_a_disk_that_is_gone_ends_the_watch_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SystemWatch(tmp_path / "gone", CPU) as watch:
        watch._thread.join(timeout=10)

        assert not watch._thread.is_alive()
        assert watch.figures() == {}
    assert "can no longer be watched" in caplog.text


def test_a_watch_ends_with_its_block(tmp_path: Path) -> None:
    with SystemWatch(tmp_path, CPU) as watch:
        pass
    watch._thread.join(timeout=10)

    assert not watch._thread.is_alive()


def test_a_sample_costs_less_than_a_thousandth_of_its_interval(tmp_path: Path) -> None:
    sample(tmp_path)
    started = time.thread_time()
    for _ in range(100):
        sample(tmp_path)

    assert (time.thread_time() - started) / 100 < 1e-3


def test_another_device_than_a_gpu_has_no_figures_of_one() -> None:
    assert gpu_sample(CPU) == {}


@pytest.mark.gpu
def test_a_gpu_is_told_of_with_its_number() -> None:
    found = gpu_sample(torch.device("cuda", 0))

    assert {"gpu_0_memory_usage_megabytes", "gpu_0_memory_usage_percentage"} <= set(found)
