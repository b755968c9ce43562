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

from cluster.signals import SIGNALS, heard_by

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
        before = {each: signal.getsignal(each) for each in SIGNALS}
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
    came = list[int]()

    def put_off(number: int, give_back: Callable[[], None]) -> None:
        give_back()
        came.append(number)
        say()

    with heard_by(put_off):
        yield
    if came:
        raise KeyboardInterrupt
