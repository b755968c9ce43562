"""What Ray tasks do with their inputs, whatever becomes of their workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aigc.errors import DataError
from cluster.errors import JobFailed, WorkerLost
from cluster.local import LocalRay
from cluster.places import Place
from cluster.resources import Resources
from cluster.tasks import each

pytestmark = pytest.mark.ray

TWO = Resources(workers=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with LocalRay(tmp_path_factory.mktemp("ray")) as local:
        yield local


def _die(begun: Path, at: set[int], times: int, number: int) -> int:
    """The number; of those in `at`, the worker dies so many times before."""
    before = len(list(begun.glob(f"{number}-*")))
    (begun / f"{number}-{before}").touch()
    if number in at and before < times:
        time.sleep(0.5)  # What was answered before is on its way.
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_a_lost_worker_was_at_is_done_by_another(place: Place, tmp_path: Path) -> None:
    """The others are done once, and what has a result is not done again."""
    unlucky = each(partial(_die, tmp_path, {3, 11}, 1))
    once = Resources(max_failures=1)

    assert sorted(place.map(unlucky, range(12), once)) == list(range(12)), "each may be lost once"
    assert len(list(tmp_path.glob("*"))) == 14


def test_an_input_that_is_lost_too_often_ends_the_task(place: Place, tmp_path: Path) -> None:
    never = Resources(max_failures=0)
    with pytest.raises(WorkerLost, match="a worker was lost"):
        list(place.map(each(partial(_die, tmp_path, {5}, 1)), range(12), never))
    assert len(list(tmp_path.glob("5-*"))) == 1


def test_a_worker_that_dies_after_its_last_answer_has_lost_nothing(place: Place) -> None:
    def die_at_the_end(numbers: Iterator[int]) -> Iterator[int]:
        yield from numbers
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    never = Resources(max_failures=0)
    assert sorted(place.map(die_at_the_end, [1, 2], never)) == [1, 2]


def test_two_workers_are_at_work_at_once(place: Place, tmp_path: Path) -> None:
    def meet(number: int) -> bool:
        (tmp_path / str(number)).touch()
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("[01]"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        return time.monotonic() < until

    assert list(place.map(each(meet), [0, 1], TWO)) == [True, True]


def test_the_error_of_one_input_ends_the_task(place: Place, tmp_path: Path) -> None:
    """And what other workers are at: nobody waits for their answers."""
    begun = tmp_path / "begun"
    begun.mkdir()

    def fail(number: int) -> int:
        (begun / str(number)).touch()
        if number == 2:
            raise DataError("the third is bad", "leave it out")
        time.sleep(0.3)
        return number

    with pytest.raises(DataError, match="the third is bad"):
        list(place.map(each(fail), range(40), TWO))
    ended = len(list(begun.iterdir()))
    time.sleep(3)
    assert len(list(begun.iterdir())) <= ended + 1


def test_a_task_that_does_not_answer_for_all_is_no_success(place: Place) -> None:
    def forget(numbers: Iterator[int]) -> Iterator[int]:
        yield next(numbers)

    with pytest.raises(JobFailed, match="answered for less"):
        list(place.map(forget, range(8), TWO))
