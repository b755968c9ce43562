"""Tasks answer for each input once, in order, and may begin the next before the last is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tasks import Task, behind, dealt, each, within


class Broken(Exception):
    """What a function of these tests raises."""


def test_each_input_is_answered_before_the_next_is_asked_for() -> None:
    asked: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    results = each(lambda number: 2 * number)(inputs())

    assert (next(results), asked) == (0, [0])
    assert list(results) == [2, 4]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_what_is_left_to_do_is_answered_for_in_order(count: int) -> None:
    task = behind(lambda number: lambda: (number, threading.get_ident()))
    results = list(task(iter(range(count))))

    assert [number for number, _ in results] == list(range(count))
    assert threading.get_ident() not in {thread for _, thread in results}


def test_the_next_is_begun_before_the_last_is_done() -> None:
    begun = [threading.Event() for _ in range(4)]
    begun[3].set()

    def begin(number: int) -> Callable[[], bool]:
        begun[number].set()
        return lambda: begun[number + 1].wait(60)

    assert list(behind(begin)(iter(range(3)))) == [True, True, True]


def test_not_more_than_one_is_left_to_do() -> None:
    begun: list[int] = []

    def begin(number: int) -> Callable[[], int]:
        begun.append(number)
        return lambda: number

    seen = [(number, len(begun)) for number in behind(begin)(iter(range(4)))]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_nothing_is_done_while_an_answer_is_looked_at() -> None:
    """A log, a meter or a driver would take it for its own."""
    done: list[int] = []
    for number in behind(lambda number: lambda: done.append(number) or number)(iter(range(3))):
        time.sleep(0.02)
        assert done[-1] == number


def test_an_error_of_what_is_left_is_raised_in_its_place() -> None:
    def begin(number: int) -> Callable[[], int]:
        def rest() -> int:
            if number == 1:
                raise Broken
            return number

        return rest

    results = behind(begin)(iter(range(3)))
    assert next(results) == 0
    with pytest.raises(Broken):
        next(results)


def test_of_two_errors_the_first_is_told() -> None:
    def begin(number: int) -> Callable[[], object]:
        if number == 1:
            raise Broken("of the second")
        return lambda: exec("raise OSError('of the first')")

    with pytest.raises(OSError, match="of the first") as told:
        list(behind(begin)(iter(range(2))))
    assert isinstance(told.value.__context__, Broken)


@pytest.mark.parametrize("make", [each, behind])
def test_no_input_is_left_out_for_a_function_that_finds_nothing(
    make: Callable[[Callable[[int], object]], Task[int, object]],
) -> None:
    """StopIteration out of a function would end the answers as if there were no more inputs."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(make(lambda number: next(iter(())))(iter(range(3))))


def test_what_is_left_is_done_though_the_next_fails() -> None:
    done: list[int] = []

    def begin(number: int) -> Callable[[], None]:
        if number == 1:
            raise Broken
        return lambda: done.append(number)

    with pytest.raises(Broken):
        list(behind(begin)(iter(range(2))))
    assert done == [0]


def test_each_result_is_made_in_a_block_of_its_own() -> None:
    entered: list[int] = []
    inside: list[bool] = []

    @contextmanager
    def block() -> Iterator[int]:
        entered.append(len(entered))
        inside.append(True)
        yield entered[-1]
        inside.pop()

    def results() -> Iterator[str]:
        for letter in "ab":
            assert inside
            yield letter

    for letter, number in within(block, results()):
        assert not inside, "what is done with a result is not of its block"
        assert letter == "ab"[number]
    assert entered == [0, 1, 2]


@given(st.integers(0, 500), st.integers(1, 40))
def test_inputs_are_dealt_once_each_in_parts_that_shrink(count: int, workers: int) -> None:
    parts = list(dealt(count, workers))

    assert [number for part in parts for number in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-workers:] == [1] * min(workers, len(sizes))
    assert not sizes or sizes[0] <= -(-count // (2 * workers))
