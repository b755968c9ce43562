"""Signals that come at a bad moment: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard_by(handler: Callable[[int, Callable[[], None]], None]) -> Iterator[None]:
    """While the block runs, `handler` is told of each, and by what it gives them back, before the
    block ends, to whoever heard them until then.

    Only the main thread is told of signals. What is ignored, as Ctrl-C in the background of a
    shell, stays so, and what nobody here has set.
    """
    is_main = threading.current_thread() is threading.main_thread()
    signals = SIGNALS if is_main else ()
    before = {each: kept for each in signals if callable(kept := signal.getsignal(each))}

    def give_back() -> None:
        for number, kept in before.items():
            signal.signal(number, kept)

    for number in before:
        signal.signal(number, lambda number, _: handler(number, give_back))
    try:
        yield
    finally:
        give_back()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off both while Ray starts in the block; who heard of them before, hears then, and of a
    second one at once: Ray may be waiting for a cluster that does not answer.

    What is raised while Ray forks its processes Python may swallow with a lock of `logging` held:
    the job would go on, and hang at its end. And Ray leaves handlers of SIGTERM of its own, which
    end a job that is cancelled with a crash.
    """
    came = list[int]()

    def put_off(number: int, give_back: Callable[[], None]) -> None:
        came.append(number)
        if len(came) > 1:
            give_back()
            signal.raise_signal(number)

    with heard_by(put_off):
        try:
            yield
        except SystemExit:
            # So much has Ray's handler made of SIGTERM.
            came.append(signal.SIGTERM)
    if came:
        signal.raise_signal(came[0])
