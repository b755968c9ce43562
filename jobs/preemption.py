"""SIGTERM, some seconds before a machine is taken away: the training saves its state and ends.

And Ctrl-C, which Python may raise where nothing can be raised, in a weak reference's callback: it
is swallowed there. The training that goes on then is asked to stop.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aigc.errors import Preempted
from cluster.workspace import RunFolder

LOOK_SECONDS = 0.25
"""Between two looks for the file that asks to cancel."""


@contextmanager
def stoppable(run: RunFolder) -> Iterator[None]:
    """While the block runs, SIGTERM asks the run's first worker to stop, wherever that is; Ctrl-C
    does, too, beside interrupting this process.

    Raises Preempted when the block ended in time all the same: what comes after has no notice.
    """
    run.stop.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread is told of signals.
        yield
        return

    def interrupt(*_: object) -> None:
        run.stop.touch()
        raise KeyboardInterrupt

    handlers = {signal.SIGTERM: lambda *_: run.stop.touch(), signal.SIGINT: interrupt}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if run.stop.exists():
        raise Preempted("stopped at the end of training", "Submit the same spec again to go on")


def heed(run: RunFolder, halt: threading.Event) -> None:
    """Until it is told to halt, wait for the file of `aigc job cancel`, which reaches any machine;
    this process is then stopped as SIGTERM stops it."""
    while not halt.wait(LOOK_SECONDS):
        if run.cancel.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return
