"""The engine: decides what is due, starts its jobs, and records how they ended.

Any number of engines may run at once on one store. A job is a process of its own that outlives the
engine; the tick of an engine that is gone is claimed by another one, which submits the same job
again: that is the same submission, and it waits for the first to end, or ends as that has. What the
process of a job says counts only where the job itself has ended, by what its files and its head
say: otherwise the tick stays at work, and is looked at again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from aigc.errors import FactoryError
from cluster.errors import StoreUnavailable
from cluster.schedules import Schedules
from cluster.states import State
from cluster.ticks import Tick, Ticks
from jobs.errors import CANCELLED, DONE, OUR_ERROR, SpecInvalid, exit_code
from jobs.schedule.decisions import Again, Unsettled, after_exit, may_go_on, pass_over

LEASE = timedelta(seconds=30)
"""As long after it was last heard of, an engine is taken for lost."""
NOT_IN_VAIN = ("QUEUED", "PENDING", "RUNNING", "SUCCEEDED")
"""The states of a submission that is to be followed to its end, though it is to make room."""
STEADY = timedelta(minutes=1)
"""By less than that a clock is only set right."""
LOOK_SECONDS = 0.5
"""Between two passes of an engine that serves."""
TOGETHER = 200
"""So many schedules are decided in one transaction: others wait for it no longer than a moment."""


class Jobs(Protocol):
    """How the job of a tick is run."""

    def start(self, tick: Tick) -> subprocess.Popen[bytes]:
        """Begin it, or go on with it. Raises FactoryError, OSError."""
        ...

    def end(self, tick: Tick, process: subprocess.Popen[bytes]) -> None:
        """Ask it to end, wherever it is at work."""
        ...

    def submission(self, tick: Tick) -> str | None:
        """The submission that it has become, once that is known."""
        ...

    def state(self, tick: Tick) -> State | None:
        """That of the submission, as its files have it; None as long as there is none."""
        ...

    def said(self, tick: Tick) -> str:
        """One line on why it has failed."""
        ...


@dataclass
class AtWork:
    """A tick that this engine has claimed, and the process that is its job."""

    tick: Tick
    process: subprocess.Popen[bytes]
    renewed: float = field(default_factory=time.monotonic)


class Engine:
    """One engine. `at_most` jobs are at work at a time; `say` is told what a person may want to
    know, and `after_pass` is called after every pass that went well. `failed` and `left` count its
    ticks that have failed, and those whose jobs it has left to others."""

    def __init__(
        self,
        schedules: Schedules,
        ticks: Ticks,
        jobs: Jobs,
        say: Callable[[str], None],
        at_most: int = 4,
        lease: timedelta = LEASE,
        after_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self._after_pass = after_pass
        self._schedules, self._ticks, self._jobs, self._say = schedules, ticks, jobs, say
        self._at_most, self._lease = at_most, lease
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._at_work: list[AtWork] = []
        # What has been told in the last pass that came to its end, and in this one.
        self._told, self._telling = set[str](), set[str]()
        self._latest: datetime | None = None
        self.failed, self.left = 0, 0

    @property
    def is_idle(self) -> bool:
        """Whether none of its jobs is at work."""
        return not self._at_work

    def decide(self) -> None:
        """Write down every tick that has come due, of all schedules."""
        self._watch_the_clock()
        pending = self._schedules.pending()
        for first in range(0, len(pending), TOGETHER):
            decided = self._schedules.advance(pending[first : first + TOGETHER], pass_over)
            for name, error in decided.items():
                if isinstance(error, FactoryError):
                    self._tell(f"schedule {name} can no longer be read, and stands still: {error}")

    def begin(self) -> None:
        """Claim ticks and start their jobs, as many as there is room for."""
        while room := self._at_most - len(self._at_work):
            claimed = self._ticks.claim(self._owner, self._lease, room)
            for tick in claimed:
                self._start(tick)
            if not claimed:
                return

    def _start(self, tick: Tick) -> None:
        if tick.to_end and self._jobs.state(tick) not in NOT_IN_VAIN:
            self._record(tick, CANCELLED, "")
            return
        try:
            self._at_work.append(AtWork(tick, self._jobs.start(tick)))
        except SpecInvalid as error:
            self._record(tick, exit_code(error), str(error))
        except (FactoryError, OSError) as error:
            self._record(tick, OUR_ERROR, str(error))
        else:
            self._say(f"{tick.schedule} of {tick.due.isoformat()}: attempt {tick.attempt}")

    def look_after(self) -> None:
        """Record what has ended, and keep the claims on what has not."""
        for each in list(self._at_work):
            code = each.process.poll()
            if code is not None:
                self._note_submission(each)
                self._record(each.tick, code, self._jobs.said(each.tick) if code else "")
            if code is not None or not self._keep(each):
                self._at_work.remove(each)

    def run(self, halt: threading.Event, forever: bool) -> None:
        """Pass after pass, until it is told to halt; or one pass, and until its jobs have ended.

        A store that does not answer is asked again, where it is to run for ever. Raises
        StoreUnavailable otherwise.
        """
        decides, answers = True, True
        while not halt.is_set():
            try:
                self._pass(decides)
                decides = forever
                if not answers:
                    self._say("the store of decisions answers again")
                answers = True
            except StoreUnavailable as error:
                if not forever:
                    raise
                self._tell(str(error))
                answers = False
            self._told, self._telling = self._telling, set()
            if not forever and self.is_idle:
                return
            halt.wait(LOOK_SECONDS)
        self._leave()

    def _pass(self, decides: bool) -> None:
        self.look_after()
        if decides:
            self.decide()
        self.begin()
        self._after_pass()

    def _leave(self) -> None:
        """Leave the jobs to other engines, at once."""
        for each in self._at_work:
            # A store that is silent hears nothing: the claim ends by itself.
            with suppress(StoreUnavailable):
                self._ticks.release(each.tick)
            self._say(f"{each.tick.schedule}: its job goes on, and the next engine looks after it")
        self.left = len(self._at_work)
        self._at_work.clear()

    def _keep(self, each: AtWork) -> bool:
        """Renew the claim when it is time; False when another engine has it."""
        if time.monotonic() - each.renewed < self._lease.total_seconds() / 6:
            return True
        self._note_submission(each)
        renewed = self._ticks.renew(each.tick, self._lease)
        if renewed is None:
            self._say(f"{each.tick.schedule}: another engine looks after its job now")
            return False
        each.tick, each.renewed = renewed, time.monotonic()
        if renewed.to_end:
            # Each time: an attempt that begins forgets what was asked before.
            self._jobs.end(each.tick, each.process)
        return True

    def _note_submission(self, each: AtWork) -> None:
        found = self._jobs.submission(each.tick) if each.tick.submission is None else None
        if found is not None:
            each.tick = self._ticks.intend(each.tick, found) or each.tick

    def _record(self, tick: Tick, code: int, said: str) -> None:
        decided = after_exit(tick, code, said, code != DONE and self._goes_on(tick))
        if isinstance(decided, Unsettled):
            recorded = self._ticks.release(tick, decided.pause)
            how = "its job goes on"
        elif isinstance(decided, Again):
            recorded = self._ticks.put_back(tick, decided.pause, decided.reason, decided.failed)
            how = f"again in {decided.pause}"
        else:
            recorded = self._ticks.finish(tick, decided.ending, decided.reason)
            how = decided.ending
            self.failed += decided.ending == "failed"
        if recorded:
            why = f": {decided.reason}" if decided.reason else ""
            self._say(f"{tick.schedule} of {tick.due.isoformat()}: {how}{why}")

    def _watch_the_clock(self) -> None:
        """Say when the store's clock was set back: what is accounted for is not due again."""
        now, accounted = self._schedules.now(), self._schedules.accounted()
        self._latest = max(each for each in (self._latest, now, accounted) if each is not None)
        if self._latest - now > STEADY:
            self._tell(
                f"the clock was set back: it has been {self._latest.isoformat(timespec='minutes')} "
                "before, up to which nothing is due again"
            )

    def _goes_on(self, tick: Tick) -> bool:
        return may_go_on(tick, self._jobs.state(tick), self._schedules.now())

    def _tell(self, text: str) -> None:
        """Say something that would be said at every pass once, and once more when it comes back."""
        if text not in self._told | self._telling:
            self._say(text)
        self._telling.add(text)
