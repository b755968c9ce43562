"""The folder of a tick: what was asked for, what it was pinned to, and what was said.

Models and datasets are resolved once for a tick, and the submission is named once, by whoever comes
first: a later attempt, or another engine that takes the tick over, asks for the same submission,
though the champion has moved or the product was upgraded since.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aigc.data.files import put_if_absent
from cluster.handover import Handover, size_of
from cluster.ticks import Tick
from cluster.workspace import RunFolder, Workspace
from jobs.session import Planning
from jobs.source import Source, read
from jobs.spec import Spec, as_document, check
from jobs.submission import Submission, prepare


@dataclass(frozen=True)
class TickFolder:
    """The files of one tick."""

    path: Path

    @classmethod
    def of(cls, workspace: Workspace, tick: Tick) -> TickFolder:
        """That of a tick, which may not be there yet. One that is made up for begins anew."""
        name = f"{tick.due:%Y-%m-%dT%H-%M-%SZ}"
        name += f"-{tick.backfill[:8]}" if tick.backfill else ""
        return cls(workspace.root / "schedules" / tick.schedule / name)

    @property
    def job(self) -> Path:
        """The spec that is submitted."""
        return self.path / "job.yaml"

    @property
    def pinned(self) -> Path:
        """The spec with models and datasets pinned, once somebody has."""
        return self.path / "pinned.yaml"

    @property
    def submission(self) -> Path:
        """The id of the submission, once it is known. It stays, whatever becomes of the code."""
        return self.path / "submission"

    def attempt(self, number: int) -> Path:
        """How far the submission had come when that attempt began."""
        return self.path / f"attempt-{number}.json"

    @property
    def outcome(self) -> Path:
        """What the command has printed: the outcome, JSON."""
        return self.path / "outcome.json"

    @property
    def log(self) -> Path:
        """What the command has told, of all attempts."""
        return self.path / "log"


@dataclass(frozen=True)
class Mark:
    """How far a submission has come: the bytes of its record, and the last job of a head that it
    was. What it ends in after another mark is news."""

    bytes: int
    job: str | None

    @classmethod
    def of(cls, run: RunFolder) -> Mark:
        """Where it is now."""
        note = Handover.of(run)
        return cls(size_of(run), note.job if note else None)


def mark_at(tick: Path, attempt: int, run: RunFolder) -> Mark:
    """Where the submission was when the attempt began, which is now if nobody began it before.

    Raises WorkspaceUnwritable.
    """
    path = TickFolder(tick).attempt(attempt)
    put_if_absent(path, json.dumps(asdict(Mark.of(run))))
    return Mark(**json.loads(path.read_text()))


def prepare_for(tick: Path | None, spec: Spec, planning: Planning, source: Source) -> Submission:
    """The submission of a spec; for a tick, that of whoever prepared it first.

    Raises what `prepare` raises.
    """
    if tick is None:
        return prepare(spec, planning, source)
    folder = TickFolder(tick)
    if not folder.pinned.exists():
        first = prepare(spec, planning, source)
        put_if_absent(folder.pinned, as_document(first.spec))
    pinned = read(folder.pinned)
    submission = prepare(check(pinned), planning, pinned)
    # The code is part of an id: newer code would make it another submission, which runs once more.
    put_if_absent(folder.submission, submission.id)
    run = planning.workspace.run(folder.submission.read_text())
    return replace(submission, run=run, tick=tick)
