"""Ending the attempt of a submission: it is asked to, and after a while it is made to.

Asked, a training saves its state first; any other job, and a training that cannot save, closes its
record and leaves. What is ended by force is closed here.
"""

from __future__ import annotations

import getpass
import signal
import time
from contextlib import suppress
from typing import Literal

import psutil

from aigc.data.files import write_json, write_text
from cluster.errors import AlreadyRunning, Cancelled, CannotCancel
from cluster.holder import Holder, is_held, signed
from cluster.journal import now
from cluster.states import Standing, State
from cluster.submissions import is_open, parent, standing
from cluster.workspace import RunFolder, Workspace

POLL_SECONDS = 0.1
DEATH_SECONDS = 10.0
"""Within which a process that is ended by force has to be gone."""

How = Literal["asked", "gone", "forced", "too late"]
"""It left as it was asked, died without a word, was ended by force, or had ended otherwise before
it heard of it."""


def ask(run: RunFolder) -> Holder | None:
    """Ask a submission to end. Returns who holds it, as far as that is known.

    Raises CannotCancel when it has ended and when it is a trial, and WorkspaceUnwritable.
    """
    _require_cancellable(run)
    write_json(run.cancel, {"time": now(), "by": getpass.getuser()})
    # Of two that stop a training the file is the one that reaches other machines.
    write_text(run.stop, "")
    holder = signed(run.lock)
    _signal(run, holder, signal.SIGTERM)
    return holder


def see_off(run: RunFolder, holder: Holder | None, grace: float) -> How:
    """Give a submission that is asked to end `grace` seconds, and end its `holder` by force then.

    Raises CannotCancel when it is neither gone after the grace nor held by a process of this
    machine.
    """
    is_forced = not _left_within(run, grace) and _signal(run, holder, signal.SIGKILL)
    if not _left_within(run, DEATH_SECONDS if is_forced else 0):
        where = f"a process of {holder.host}" if holder else "a process that is not known"
        raise CannotCancel(
            f"{run.submission} is still held by {where} after {grace:g} s",
            "It has been asked to stop: wait for it with a longer --grace, or cancel it there",
        )
    left: dict[State, How] = {
        "CANCELLED": "asked",
        "INTERRUPTED": "forced" if is_forced else "gone",
    }
    return left.get(standing(run).state, "too late")


def close_record(workspace: Workspace, run: RunFolder) -> str | None:
    """Close the record of a submission that was cancelled and left it open, and deliver it.

    Returns what keeps MLflow from hearing of it now, if anything does.
    """
    # They bring MLflow, for which nobody who is asked to end should wait.
    from aigc.errors import FactoryError
    from cluster.record import TrackedRun
    from cluster.tracking import Tracking

    try:
        tracked = TrackedRun(Tracking(workspace), run)
        with suppress(AlreadyRunning), run.locked():
            if is_open(run):
                tracked.end("KILLED", Cancelled(f"{run.submission} was ended by force"))
        tracked.deliver()
    except FactoryError as error:
        return error.what
    return None


def _require_cancellable(run: RunFolder) -> None:
    present: Standing = standing(run)
    if present.has_ended:
        raise CannotCancel(
            f"{run.submission} has ended already: {present.state}, {present.reason}",
            "There is nothing to cancel",
        )
    if search := parent(run):
        raise CannotCancel(
            f"{run.submission} is a trial of {search}", f"Cancel that: aigc job cancel {search}"
        )


def _signal(run: RunFolder, holder: Holder | None, sent: signal.Signals) -> bool:
    """Send a signal to the process that holds the submission, if it is the one that signed.

    Returns whether there was one to send it to.
    """
    process = holder.process() if holder else None
    if process is None or not is_held(run.lock) or signed(run.lock) != holder:
        return False
    with suppress(psutil.Error):
        process.send_signal(sent)
    return True


def _left_within(run: RunFolder, seconds: float) -> bool:
    """Whether nobody holds the submission any more after at most so many seconds."""
    last = time.monotonic() + seconds
    while is_held(run.lock):
        if time.monotonic() >= last:
            return False
        time.sleep(POLL_SECONDS)
    return True
