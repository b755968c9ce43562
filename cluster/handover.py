"""A submission that was handed to the head of a cluster, and the note of it in the run's folder.

{"head": "https://head:8265", "insecure": false, "job": "digits-gan-0123456789-ab12cd-1",
 "time": 1764000000123, "heard": 0, "ended": null}

The process that the head starts writes into the same workspace, and from its first entry on the
files of the run say everything, whatever becomes of the head. Until then the head is asked. What it
says of a job that ended before it began is noted, because a head forgets.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from aigc.data.files import digest_of, write_json, write_text
from cluster.errors import AlreadyRunning
from cluster.holder import is_held
from cluster.journal import now
from cluster.locks import exclusive
from cluster.states import STATES, Standing, State
from cluster.tails import whole
from cluster.workspace import RunFolder, Workspace

if TYPE_CHECKING:
    from cluster.head import Head, JobRequest
    from cluster.package import Package


@dataclass(frozen=True)
class Handover:
    """The note. `heard` is the size of the outbox then, in bytes: one that has grown tells of the
    job itself.

    `ended` is what became of a job that never began: its state, and the reason.
    """

    head: str
    insecure: bool
    job: str
    time: int
    heard: int
    ended: tuple[State, str] | None = None

    @classmethod
    def of(cls, run: RunFolder) -> Handover | None:
        """The note in the folder, if the submission was handed over."""
        try:
            note = cls(**whole(run.handover))
            texts, numbers = (note.head, note.job), (note.time, note.heard)
            if not all(isinstance(each, str) for each in texts):
                return None
            if not all(isinstance(each, int) for each in numbers):
                return None
            if note.ended is not None and not _is_ending(note.ended):
                return None
        except (TypeError, LookupError):
            return None
        return note

    @property
    def standing(self) -> Standing:
        """What is known of a job whose process has not written anything."""
        if self.ended is not None:
            state, reason = self.ended
            return Standing(state, str(reason))
        return Standing("PENDING", f"it was handed to {self.head}")

    def is_news(self, run: RunFolder) -> bool:
        """Whether the run's own files say nothing of this handover yet."""
        return size_of(run) <= self.heard

    def write(self, run: RunFolder) -> None:
        """Put the note into the folder. Raises WorkspaceUnwritable."""
        write_json(run.handover, asdict(self))


def _is_ending(ended: object) -> bool:
    """Whether it is a state and a reason."""
    return isinstance(ended, list) and len(ended) == 2 and ended[0] in STATES


def job_name(run: RunFolder, workspace: Workspace) -> str:
    """The id of the next Ray Job of the submission, or of the one that it has now.

    Two workspaces may have the same submission on one head. An id is not used again: the actor of
    the attempt before has its name for some seconds after its end.
    """
    note = Handover.of(run)
    number = 1
    if note is not None:
        former = note.job.rpartition("-")[2]
        is_over = note.ended is not None or not note.is_news(run)
        number = (int(former) if former.isdecimal() else 0) + is_over
    return f"{run.submission}-{digest_of(str(workspace.root))[:6]}-{number}"


def hand_over(head: Head, request: JobRequest, package: Package, run: RunFolder, spec: str) -> None:
    """Hand the submission to the head, unless it has it already.

    `spec` is the document that the process there reads. Raises HeadUnavailable, HeadRefused,
    WorkspaceUnwritable, and AlreadyRunning when another process was faster.
    """
    with exclusive(run.handover_lock):
        if is_held(run.lock) or is_held(run.ticket):
            raise AlreadyRunning(
                f"submission {run.submission} is running in another process",
                f"Follow it: {run.command} job logs -f {run.submission}",
            )
        for gone in (run.cancel, run.stop):
            gone.unlink(missing_ok=True)
        write_text(run.spec, spec)
        name = _unused(head, request.submission_id)
        # Before it is asked: what was asked must be found again, whatever comes between.
        Handover(head.address, head.insecure, name, now(), size_of(run)).write(run)
        head.submit(replace(request, submission_id=name), package)


def _unused(head: Head, name: str) -> str:
    """The id, or the next one that no job of the head has had that has ended."""
    while (there := head.job(name)) is not None and there.has_ended:
        beginning, _, number = name.rpartition("-")
        name = f"{beginning}-{int(number) + 1}"
    return name


def note_cancelled(run: RunFolder) -> None:
    """Note that a submission was cancelled, if it was handed over and has not begun."""
    note = Handover.of(run)
    if note is not None and note.is_news(run):
        replace(note, ended=("CANCELLED", "it was cancelled before it began")).write(run)


def was_forgotten(run: RunFolder) -> bool:
    """Whether the head has lost the job before it began: then nobody works on it."""
    note = Handover.of(run)
    is_gone = note is not None and note.ended is not None and note.ended[0] == "INTERRUPTED"
    return note is not None and is_gone and note.is_news(run)


def size_of(run: RunFolder) -> int:
    """The bytes of the outbox."""
    try:
        return run.outbox.stat().st_size
    except OSError:
        return 0
