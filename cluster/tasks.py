"""Tasks for the workers of a place: what they make of the inputs that they are given.

A worker answers for its inputs in their order. It may begin with the next one before it has
answered for the last, so that a model need not wait for a disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")
Block = TypeVar("Block")

Task = Callable[[Iterator[Input]], Iterator[Output]]

_END: Any = object()


def each(function: Callable[[Input], Output]) -> Task[Input, Output]:
    """`function` of one input after the other."""

    @functools.wraps(function)
    def task(inputs: Iterator[Input]) -> Iterator[Output]:
        for given in inputs:
            yield function(given)

    return task


def behind(function: Callable[[Input], Callable[[], Output]]) -> Task[Input, Output]:
    """`function` of one input after the other, and what that returns, called by a thread while the
    next one is begun; not more than one is left to it at a time."""

    @functools.wraps(function)
    def task(inputs: Iterator[Input]) -> Iterator[Output]:
        with ThreadPoolExecutor(1) as thread:
            last: Future[Output] | None = None
            for given in inputs:
                try:
                    rest = function(given)
                except Exception:
                    if last is not None:
                        last.result()  # An error of what came first is told first.
                    raise
                if last is not None:
                    yield last.result()
                last = thread.submit(rest)
            if last is not None:
                yield last.result()

    return task


def dealt(count: int, workers: int) -> Iterator[Sequence[int]]:
    """The numbers of `count` inputs in the parts that workers are given, in turn, when they are
    free: long ones first, since a worker waits between two, and shorter ones to end together.

    Each is half of a worker's share of the rest: guided self-scheduling (Polychronopoulos & Kuck
    1987, https://doi.org/10.1109/TC.1987.5009495) with parts half as long.
    """
    at = 0
    while at < count:
        size = -(-(count - at) // (2 * workers))
        yield range(at, at + size)
        at += size


def within(
    block: Callable[[], AbstractContextManager[Block]], results: Iterator[Output]
) -> Iterator[tuple[Output, Block]]:
    """Each of the results, made while a block of its own runs, and what that is entered as."""
    while True:
        with block() as entered:
            result = next(results, _END)
        if result is _END:
            return
        yield result, entered
