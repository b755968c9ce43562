"""Ending the attempt of a submission: it is asked to, and after a while it is made to.

It is asked by a file, which reaches other machines, too. Asked, a training saves its state first;
any other job, and a training that cannot save, closes its record and leaves. One that a head has
not begun is ended by that head. What is ended by force is closed here.
"""

from __future__ import annotations

import getpass
import time
from contextlib import suppress
from typing import Literal

import psutil

from aigc.data.files import write_json
from cluster.errors import AlreadyRunning, Cancelled, CannotCancel
from cluster.handover import Handover, note_cancelled
from cluster.holder import Holder, is_held, signed
from cluster.journal import now
from cluster.states import Standing, State
from cluster.submissions import is_open, parent, standing
from cluster.workspace import RunFolder, Workspace

POLL_SECONDS = 0.1
DEATH_SECONDS = 20.0
"""Within which a process that is ended by force has to be gone."""

How = Literal["asked", "gone", "forced", "too late"]
"""It left as it was asked, died without a word, was ended by force, or had ended otherwise before
it heard of it."""


def ask(run: RunFolder) -> Holder | None:
    """Ask a submission to end. Returns who holds it, as far as that is known.

    Raises CannotCancel when it has ended and when it is a trial, WorkspaceUnwritable, and
    HeadUnavailable when only a head could end it.
    """
    _require_cancellable(run)
    if _has_process(run) or not _stopped_there(run):
        _write(run)
    return signed(run.lock)


def see_off(run: RunFolder, holder: Holder | None, grace: float) -> How:
    """Give a submission that is asked to end `grace` seconds, and end its `holder` by force then.

    Raises CannotCancel when it is neither gone after the grace nor held by a process of this
    machine or of a head, and HeadUnavailable.
    """
    is_forced = not _left_within(run, grace, asked=True) and (
        _killed(run, holder) or _stopped_there(run)
    )
    if not _left_within(run, DEATH_SECONDS if is_forced else 0):
        where = f"a process of {holder.host}" if holder else "a process that is not known"
        raise CannotCancel(
            f"{run.submission} is still held by {where} after {grace:g} s",
            "It has been asked to stop: wait for it with a longer --grace, or cancel it there",
        )
    note_cancelled(run)
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
            f"{run.submission} is a trial of {search}",
            f"Cancel that: {run.command} job cancel {search}",
        )


def _write(run: RunFolder) -> None:
    write_json(run.cancel, {"time": now(), "by": getpass.getuser()})


def _killed(run: RunFolder, holder: Holder | None) -> bool:
    """Kill the process that holds the submission, if it is the one that signed; whether it could
    be."""
    process = holder.process() if holder else None
    if process is None or not is_held(run.lock) or signed(run.lock) != holder:
        return False
    with suppress(psutil.Error):
        process.kill()
    return True


def _stopped_there(run: RunFolder) -> bool:
    """Let the head end the job, if the submission was handed to one."""
    if Handover.of(run) is None:
        return False
    # It brings what speaks HTTP, which nobody on this machine should wait for.
    from cluster.following import stop_there

    stop_there(run)
    return True


def _has_process(run: RunFolder) -> bool:
    """Whether a process works on it, or waits in line with it."""
    return is_held(run.lock) or is_held(run.ticket)


def _left_within(run: RunFolder, seconds: float, asked: bool = False) -> bool:
    """Whether no process has the submission any more after at most so many seconds.

    If it is `asked`, the file says so all the time: an attempt that begins takes it away.
    """
    last = time.monotonic() + seconds
    while _has_process(run):
        if asked and not run.cancel.exists():
            _write(run)
        if time.monotonic() >= last:
            return False
        time.sleep(POLL_SECONDS)
    return True
