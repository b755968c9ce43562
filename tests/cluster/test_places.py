"""A place to run: this process as the only worker, and what never fits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from ray._private.node import Node
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from aigc.errors import DataError
from aigc.training.world import World
from cluster import on_ray
from cluster.errors import CanNeverFit, WorkerLost
from cluster.local import LocalRay
from cluster.places import Here, Place, device, machine, require_fit
from cluster.resources import Resources
from cluster.tasks import each

TWO = Resources(workers=2)
CPUS = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_training_here_is_one_worker_with_the_whole_batch() -> None:
    worlds: list[World] = []
    with Here() as place:
        place.train(worlds.append, TWO)

    assert worlds == [World(0, 1, torch.device("cpu"))]


def test_a_worker_here_has_the_threads_that_were_asked_for() -> None:
    seen: list[int] = []
    asked = Resources(cpus_per_worker=2)
    Here().train(lambda world: seen.append(torch.get_num_threads()), asked)
    seen += Here().map(each(lambda _: torch.get_num_threads()), [None], Resources())

    assert seen == [2, 1]


def test_results_here_come_one_after_the_other() -> None:
    begun: list[int] = []

    def double(number: int) -> int:
        begun.append(number)
        return 2 * number

    results = Here().map(each(double), [1, 2, 3], TWO)

    assert next(results) == 2
    assert begun == [1]
    assert list(results) == [4, 6]


def test_an_error_here_is_the_workers_own() -> None:
    def fail(world: World) -> None:
        raise DataError("what", "next")

    with pytest.raises(DataError, match="what"), Here() as place:
        place.train(fail, TWO)


def test_here_needs_one_worker_whatever_is_asked() -> None:
    asked = Resources(workers=50, cpus_per_worker=1, max_failures=3)

    assert Here().needs(asked) == asked.model_copy(update={"workers": 1})
    require_fit(asked, Here())


def test_what_never_fits_is_refused_with_the_nearest_that_does(tmp_path: object) -> None:
    local: Place = LocalRay(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(CanNeverFit, match="can never fit") as error:
        require_fit(Resources(workers=CPUS + 1), local)

    assert f"The nearest that fits is {CPUS} × (1 CPU)" in error.value.next_step
    require_fit(Resources(workers=CPUS), local)


def test_more_cpus_a_worker_than_the_machine_has_never_fit_even_here() -> None:
    with pytest.raises(CanNeverFit):
        require_fit(Resources(cpus_per_worker=CPUS + 1), Here())


def test_this_machine_has_what_this_process_may_use() -> None:
    (node,) = machine().nodes

    assert (node.cpus, node.cpus_free) == (CPUS, CPUS)
    assert node.gpus == torch.cuda.device_count()


def test_a_worker_uses_a_gpu_only_if_it_asks_for_one() -> None:
    assert device(Resources()) == torch.device("cpu")
    assert device(Resources(gpus_per_worker=0.5)) == torch.device("cuda")


@pytest.mark.parametrize(
    ("gpus", "backend"), [(0, "gloo"), (0.5, "gloo"), (1, "nccl"), (2, "nccl")]
)
def test_workers_speak_by_what_serves_them(gpus: float, backend: str, tmp_path: Path) -> None:
    asked = Resources(workers=2, gpus_per_worker=gpus)
    trainer = on_ray._trainer(lambda world: None, asked, tmp_path, "attempt")

    assert trainer.backend_config.backend == backend


def test_a_training_starts_none_of_the_helpers_of_ray_that_it_has_no_use_for(
    tmp_path: Path,
) -> None:
    ours = on_ray._trainer(lambda world: None, TWO, tmp_path, "attempt")
    plain = TorchTrainer(lambda: None, scaling_config=ScalingConfig(num_workers=2))

    def kinds(trainer: TorchTrainer) -> set[str]:
        callbacks = trainer._create_default_callbacks()  # type: ignore[attr-defined]  # V2's
        return {type(callback).__name__ for callback in callbacks}

    spared = {"DatasetsCallback", "PlacementGroupCleanerCallback"}
    assert kinds(plain) - kinds(ours) == spared


def test_a_ray_that_does_not_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets are files, whose paths have at most 107 bytes."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 30)))
    with pytest.raises(WorkerLost, match=r"no Ray starts on this machine: .*107"):
        LocalRay(tmp_path / "ray").__enter__()


@pytest.mark.ray
@pytest.mark.parametrize("error", [RuntimeError("no raylet"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_ray_that_starts_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    start = Node.start_raylet

    def start_and_fail(self: Node, *arguments: object) -> None:
        start(self, *arguments)
        raise error

    monkeypatch.setattr(Node, "start_raylet", start_and_fail)
    monkeypatch.setattr("cluster.local.LEAVING_SECONDS", 1.0)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises((WorkerLost, KeyboardInterrupt)), LocalRay(tmp_path / "ray"):
        pass
    assert set(psutil.Process().children(recursive=True)) <= before


STUBBORN = "trap '' TERM; sleep 600 & echo $!; wait"


def _leave_a_process(_: int) -> int:
    shell = ["bash", "-c", STUBBORN]
    started = subprocess.Popen(shell, start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    return int(started.stdout.readline())


@pytest.mark.ray
def test_a_local_ray_is_gone_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what its workers have started, and leave behind themselves."""
    monkeypatch.setattr("cluster.local.LEAVING_SECONDS", 1.0)
    with LocalRay(tmp_path / "ray") as place:
        (pid,) = place.map(each(_leave_a_process), [0], Resources())
        left = psutil.Process(pid)
    try:
        left.wait(timeout=10)
    finally:
        with suppress(psutil.NoSuchProcess):
            left.kill()


@pytest.mark.ray
def test_the_ray_that_is_there_already_stays(tmp_path: Path) -> None:
    with LocalRay(tmp_path / "ray") as place:
        with pytest.raises(RuntimeError, match="uses a Ray already"):
            LocalRay(tmp_path / "other").__enter__()
        assert list(place.map(each(lambda number: 2 * number), [1], Resources())) == [2]


@pytest.mark.ray
@pytest.mark.slow
def test_answers_that_an_earlier_ray_still_owed_trouble_no_later_one(tmp_path: Path) -> None:
    with LocalRay(tmp_path / "ray") as place:
        owed = place.map(each(abs), range(50), TWO)
        assert next(owed) >= 0
    with LocalRay(tmp_path / "ray") as place:
        owed.close()
        assert list(place.map(each(abs), [-1], Resources())) == [1]
