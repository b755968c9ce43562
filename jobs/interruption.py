"""Ctrl-C, and SIGTERM, which counts as one: noted, because what it raises can get lost.

Python swallows it in a destructor and in the callback of a weak reference, and a library that is
being imported may go on without what it was about to import, or fail in another way. So whoever is
about to begin something, or waits for long, asks whether one has come.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_came = threading.Event()


@contextmanager
def noting_interruptions() -> Iterator[None]:
    """While the block runs each one is noted, and raised as KeyboardInterrupt; none has come yet.

    SIGTERM is what systemd and Kubernetes send: a job's run is closed then, too.
    """
    _came.clear()
    before = {}
    if threading.current_thread() is threading.main_thread():
        # What was started in the background of a shell is not to hear Ctrl-C.
        unheard = (signal.SIG_IGN, None)
        before = {each: signal.getsignal(each) for each in _SIGNALS}
        before = {each: kept for each, kept in before.items() if kept not in unheard}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, kept in before.items():
            signal.signal(number, kept)


def was_interrupted() -> bool:
    """Whether one has come, whatever became of it."""
    return _came.is_set()


def heed_lost() -> None:
    """Raise KeyboardInterrupt if one has come: it got lost."""
    if was_interrupted():
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    _came.set()
    raise KeyboardInterrupt


@contextmanager
def putting_off(say: Callable[[], None]) -> Iterator[None]:
    """Put off the first Ctrl-C, or SIGTERM, until the block has ended well, and `say` so at once;
    the second one holds. Where the block raises an error, that is what counts.
    """
    # Only the main thread is told of signals.
    is_main = threading.current_thread() is threading.main_thread()
    signals = _SIGNALS if is_main else ()
    # What is ignored stays so, and what nobody here has set.
    before = {each: handler for each in signals if callable(handler := signal.getsignal(each))}
    came = list[int]()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def put_off(number: int, _: object) -> None:
        restore()
        came.append(number)
        say()

    for number in before:
        signal.signal(number, put_off)
    try:
        yield
    finally:
        restore()
    if came:
        raise KeyboardInterrupt
