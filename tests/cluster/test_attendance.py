"""Workers that are lost are known by what they had begun, and work that was done twice too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cluster.attendance import Attended
from cluster.local import LocalRay
from cluster.places import Here
from cluster.resources import Resources
from cluster.tasks import Input, Output, Task, behind, each


def double(number: int) -> int:
    return 2 * number


class Twice(Here):
    """Runs the first piece of work again when it has a result, as for a worker that was silent."""

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        list(task(iter(inputs[:1])))
        return super().map(task, inputs, resources)


def results(attended: Attended, function: Callable[[int], int] = double) -> list[int]:
    return sorted(attended.map(each(function), [0, 1, 2], Resources()))


def test_nothing_is_lost_where_all_came_back(tmp_path: Path) -> None:
    attended = Attended(Here(), tmp_path / "begun")

    assert results(attended) == results(attended) == [0, 2, 4]
    assert (attended.lost(), attended.repeated) == ([], 0)
    attended.forget()
    assert not (tmp_path / "begun").exists()


def test_a_piece_has_ended_when_its_result_is_there(tmp_path: Path) -> None:
    attended = Attended(Here(), tmp_path / "begun")
    for _ in attended.map(each(double), [0, 1], Resources()):
        assert attended.lost() == []


def test_an_error_is_no_loss(tmp_path: Path) -> None:
    attended = Attended(Here(), tmp_path / "begun")
    with pytest.raises(ZeroDivisionError):
        results(attended, lambda number: number // 0)
    assert attended.lost() == []


def test_work_that_was_done_twice_is_counted(tmp_path: Path) -> None:
    attended = Attended(Twice(), tmp_path / "begun")

    assert results(attended) == [0, 2, 4]
    assert (attended.lost(), attended.repeated) == ([], 1)


def test_no_work_fails_for_want_of_a_note(tmp_path: Path) -> None:
    (tmp_path / "begun").write_text("no folder")
    assert results(Attended(Here(), tmp_path / "begun")) == [0, 2, 4]


@pytest.mark.ray
def test_a_killed_worker_is_named_and_its_work_done_by_another(tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    def die_once(number: int) -> int:
        if number == 1 and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return double(number)

    with LocalRay(tmp_path / "ray") as place:
        attended = Attended(place, tmp_path / "begun")
        assert results(attended, die_once) == [0, 2, 4]
    (lost,) = attended.lost()
    assert (lost.work, lost.number, lost.pid) == ("die once", 1, int(killed.read_text()))
    assert attended.repeated <= 1, "more than the result that was on its way"
    assert Attended(Here(), tmp_path / "begun").lost() == [lost], "the next driver does not know"


def test_a_later_driver_does_not_count_the_work_of_an_earlier_one(tmp_path: Path) -> None:
    results(Attended(Here(), tmp_path / "begun"))
    later = Attended(Here(), tmp_path / "begun")
    assert results(later) == [0, 2, 4]
    assert later.repeated == 0


def test_a_worker_is_at_two_pieces_where_one_is_begun_before_the_last_is_done(
    tmp_path: Path,
) -> None:
    attended = Attended(Here(), tmp_path / "begun")
    open_at: list[int] = []

    def begin(number: int) -> Callable[[], int]:
        open_at.append(len(attended.lost()))
        return lambda: number

    assert list(attended.map(behind(begin), [0, 1, 2], Resources())) == [0, 1, 2]
    assert open_at == [1, 2, 2]
    assert (attended.lost(), attended.repeated) == ([], 0)
