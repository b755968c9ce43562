"""SIGTERM, some seconds before a machine is taken away: the training saves its state and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aigc.errors import Preempted
from cluster.workspace import RunFolder


@contextmanager
def stoppable(run: RunFolder) -> Iterator[None]:
    """While the block runs, SIGTERM asks the run's first worker to stop, wherever that is.

    Raises Preempted when the block ended in time all the same: what comes after has no notice.
    """
    run.stop.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread is told of signals.
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: run.stop.touch())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if run.stop.exists():
        raise Preempted("stopped at the end of training", "Submit the same spec again to go on")
