"""Ctrl-C that gets lost, and Ctrl-C that is put off."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from jobs.interruption import heed_lost, noting_interruptions, putting_off, was_interrupted


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_one_that_was_swallowed_is_heeded_later(sent: signal.Signals) -> None:
    before = signal.getsignal(sent)
    with noting_interruptions():
        heed_lost()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(sent)
        assert was_interrupted()
        with pytest.raises(KeyboardInterrupt):
            heed_lost()
    assert signal.getsignal(sent) is before
    with noting_interruptions():
        assert not was_interrupted(), "it is one of another command"


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_interruptions(), putting_off(lambda: None):
            signal.raise_signal(signal.SIGINT)
        assert not was_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(*then: Callable[[], object]) -> None:
    """Ctrl-C comes in a block that goes on with that."""
    with putting_off(lambda: None):
        signal.raise_signal(signal.SIGINT)
        for each in then:
            each()


def test_the_first_one_waits_for_the_end_and_the_second_one_does_not() -> None:
    done = list[int]()
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: signal.raise_signal(signal.SIGINT), lambda: done.append(2))
    assert done == [1]


def test_an_error_of_what_was_waited_for_is_what_counts() -> None:
    with pytest.raises(ZeroDivisionError):
        interrupted(lambda: 1 / 0)
