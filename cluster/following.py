"""How a submission goes on at its head, for as long as its own files do not say."""

from __future__ import annotations

import time
from dataclasses import replace

from aigc.data.files import write_text
from cluster.errors import HeadUnavailable, LogLost
from cluster.handover import Handover, note_cancelled
from cluster.head import Head, Job
from cluster.holder import is_held
from cluster.locks import exclusive
from cluster.states import Standing
from cluster.submissions import standing
from cluster.workspace import RunFolder

PATIENCE_SECONDS = 60.0
"""For how long a head that does not answer is asked again."""
TRIES = 2
MOST_CHARACTERS = 300
LOG = "head.log"
"""What a process has said that ended before it opened logs of its own."""


def standing_there(run: RunFolder, tries: int = TRIES) -> Standing:
    """The state, for which the head is asked if the files do not say. Raises HeadUnavailable."""
    note, known = Handover.of(run), standing(run)
    if note is None or known.state != "PENDING" or not note.is_news(run):
        return known
    if is_held(run.handover_lock):
        return Standing("PENDING", f"it is being handed to {note.head}")
    head = Head.at(note.head, note.insecure, tries)
    present = judge(head.job(note.job))
    said = head.log(note.job) if present.has_ended else ""
    with exclusive(run.handover_lock):
        # It may have begun, ended, or been handed over again, while the head was asked.
        if Handover.of(run) != note or not note.is_news(run):
            return standing(run)
        if present.has_ended:
            write_text(run.logs / LOG, said)
            replace(note, ended=(present.state, present.reason)).write(run)
    return present


def stop_there(run: RunFolder) -> None:
    """Let the head end the job of a submission that it was handed.

    One that has not begun is cancelled by that. Raises HeadUnavailable.
    """
    with exclusive(run.handover_lock):
        note = Handover.of(run)
        assert note is not None, f"{run.submission} was handed to no head"
        Head.at(note.head, note.insecure, TRIES).stop(note.job)
        note_cancelled(run)


def judge(job: Job | None) -> Standing:
    """The state of a job whose process has not written anything, by what the head says of it."""
    if job is None:
        return Standing("INTERRUPTED", "its head has forgotten it; a rerun hands it over again")
    if job.state == "RUNNING":
        return Standing("PENDING", "its process is starting")
    if job.state == "STOPPED":
        return Standing("STOPPED", "its head was asked to stop it before it began")
    if job.state == "SUCCEEDED":
        return Standing("SUCCEEDED", "it was done already")
    return Standing(job.state, _words(job.message))


class Watch:
    """Follows the state of a submission, through the silences of its head."""

    def __init__(self, run: RunFolder, patience: float = PATIENCE_SECONDS) -> None:
        self._run, self._patience = run, patience
        self._silent_since: float | None = None

    def look(self) -> Standing:
        """The state now. Raises LogLost when the head has been silent for too long."""
        try:
            present = standing_there(self._run)
        except HeadUnavailable as error:
            since = self._silent_since = self._silent_since or time.monotonic()
            if time.monotonic() - since < self._patience:
                return Standing("PENDING", error.what)
            raise LogLost(
                f"{self._run.submission} has not begun, and {error.what}",
                "It may begin all the same; look again: "
                f"{self._run.command} job wait {self._run.submission}",
            ) from error
        self._silent_since = None
        return present


def _words(message: str) -> str:
    """What a head says, on one line: our own error in it, or else its end."""
    errors = [line for line in message.splitlines() if line.startswith("error: ")]
    text = " ".join((errors[-1].removeprefix("error: ") if errors else message).split())
    return text if len(text) <= MOST_CHARACTERS else f"…{text[-MOST_CHARACTERS:]}"
