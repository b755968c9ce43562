"""Signals that come while Ray starts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block has ended; who heard of them before, hears then.

    What is raised while Ray forks its processes Python may swallow with a lock of `logging` held:
    the job would go on, and hang at its end. And Ray leaves handlers of SIGTERM of its own, which
    end a job that is cancelled with a crash.
    """
    # Only the main thread is told of signals, and only what was set is put off and set again.
    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {each: handler for each in signals if callable(handler := signal.getsignal(each))}
    came = list[int]()
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    except SystemExit:
        # So much has Ray's handler made of SIGTERM.
        came.append(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
