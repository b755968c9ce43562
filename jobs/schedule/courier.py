"""Who is told of ticks, beside the engine: a receiver that does not answer never holds it up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from cluster.errors import StoreUnavailable
from cluster.notices import Notice, Notices
from jobs.schedule.deliveries import Undelivered, addressee, deliver

TRIES = 8
"""With the pauses between them about an hour and a half; then a notice is given up."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(hours=1)
LEASE = timedelta(minutes=2)
"""Longer than any try takes: only of an engine that is gone a notice is taken over."""
LOOK_SECONDS = 1.0


def pause_after(tries: int) -> timedelta:
    """How long to wait after so many tries, at most: three times as long each time."""
    return min(FIRST_PAUSE * int(3 ** (tries - 1)), LONGEST_PAUSE)


class Courier:
    """Sends what waits in the outbox, in a thread of its own. `counted` hears of every try whether
    it was sent, put off or given up."""

    def __init__(
        self,
        notices: Notices,
        say: Callable[[str], None],
        counted: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._notices, self._say, self._counted = notices, say, counted
        self._halt = threading.Event()
        # It may be cut off in the middle of a try: that notice is sent again.
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Send what is due now, for so long at most, and end."""
        self._halt.set()
        self._thread.join(seconds)
        until = time.monotonic() + seconds
        while not self._thread.is_alive() and time.monotonic() < until and self.send_one():
            pass

    def send_one(self) -> bool:
        """One try of one notice; False when none waits. Raises StoreUnavailable."""
        notice = self._notices.claim(LEASE)
        if notice is None:
            return False
        try:
            deliver(notice)
        except Undelivered as error:
            self._put_off(notice, error)
        else:
            self._notices.settle(notice, "sent", "")
            self._counted("sent")
        return True

    def _put_off(self, notice: Notice, error: Undelivered) -> None:
        about = f"{notice.schedule} of {notice.due.isoformat()}"
        told = f"{about}: {notice.event} to {addressee(notice)}"
        if notice.tries >= TRIES:
            self._notices.settle(notice, "given up", error.what)
            self._counted("given up")
            self._say(f"{told}: given up after {notice.tries} tries: {error.what}")
            return
        # Engines on several machines must not come back at the same moment.
        pause = pause_after(notice.tries) * random.uniform(0.5, 1.0)
        self._notices.put_off(notice, pause, error.what)
        self._counted("put off")
        self._say(f"{told}: {error.what}; again in {pause.total_seconds():.0f} s")

    def _run(self) -> None:
        while not self._halt.wait(LOOK_SECONDS):
            try:
                while not self._halt.is_set() and self.send_one():
                    pass
            except StoreUnavailable:
                # The engine says so, and asks again as we do.
                continue
