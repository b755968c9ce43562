"""The states of a submission: what its files say of it, judged, pure.

QUEUED       it waits in the line for its cluster
PENDING      taken by a process that has not begun an attempt yet
RUNNING      a process works on it
SUCCEEDED    it has ended well
FAILED       it has ended in an error
CANCELLED    it was asked to end by `aigc job cancel`
STOPPED      a signal has ended it
INTERRUPTED  its process is gone without a word

The words are those of Ray Jobs, and some more. Whatever has not succeeded goes on when it is
submitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal[
    "QUEUED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "STOPPED", "INTERRUPTED"
]
STATES: tuple[State, ...] = get_args(State)

CANCELLED_BY = "Cancelled"
"""The error that a cancelled attempt ends with."""


@dataclass(frozen=True)
class Facts:
    """What is known of a submission.

    `end` is what its record was closed as: FINISHED, FAILED or KILLED; None while it is open.
    `error` and `said` are the class and the first line of what ended it. `done`: it has an outcome
    of its last attempt. `step` is that of its newest checkpoint.
    """

    held: bool
    begun: bool = True
    end: str | None = None
    error: str | None = None
    said: str | None = None
    done: bool = False
    stopping: bool = False
    step: int | None = None


@dataclass(frozen=True)
class Standing:
    """A state, and why it is so."""

    state: State
    reason: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state not in ("QUEUED", "PENDING", "RUNNING")


def judge(facts: Facts) -> Standing:
    """The state that follows from the facts."""
    if facts.end is None and facts.held:
        return _of_a_held_one(facts)
    if facts.end == "FINISHED" or (facts.end is None and facts.done):
        return Standing("SUCCEEDED", "it is done")
    if facts.end == "FAILED":
        named = ": ".join(each for each in (facts.error, facts.said) if each)
        return Standing("FAILED", named or "it ended in an error; see its logs")
    if facts.end == "KILLED" and facts.error == CANCELLED_BY:
        return Standing("CANCELLED", f"it was cancelled; {resumption(facts.step)}")
    if facts.end == "KILLED" and facts.error:
        return Standing("STOPPED", f"a signal stopped it; {resumption(facts.step)}")
    if not facts.begun:
        return Standing("INTERRUPTED", "its process ended before it began; a rerun begins it")
    return Standing("INTERRUPTED", f"its process is gone without a word; {resumption(facts.step)}")


def seconds_left(reports: Sequence[tuple[int, int]], steps: int | None, now: int) -> float | None:
    """How long it will still take at the pace of the reports, (time, step) of one attempt.

    Times are milliseconds since 1970. None where nobody can say.
    """
    if steps is None or len(reports) < 2:
        return None
    (since, first), (last, step) = reports[0], reports[-1]
    if step <= first or last <= since:
        return None
    each = (last - since) / (step - first)
    return max(0.0, each * (steps - step) - (now - last)) / 1000


def _of_a_held_one(facts: Facts) -> Standing:
    if not facts.begun:
        return Standing("PENDING", "it is about to begin")
    return Standing("RUNNING", "it is asked to stop" if facts.stopping else "it is at work")


def resumption(step: int | None) -> str:
    """What a rerun does, where `step` is that of the newest checkpoint."""
    return "a rerun begins it again" if step is None else f"a rerun goes on from step {step}"
