"""The folder of a tick: what was asked for, what it was pinned to, and what was said.

Models and datasets are resolved once for a tick, and the submission is named once, by whoever comes
first: a later attempt, or another engine that takes the tick over, asks for the same submission,
though the champion has moved or the product was upgraded since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from aigc.data.files import put_if_absent
from cluster.workspace import Workspace
from jobs.session import Planning
from jobs.source import Source, read
from jobs.spec import Spec, as_document, check
from jobs.submission import Submission, prepare


@dataclass(frozen=True)
class TickFolder:
    """The files of one tick."""

    path: Path

    @classmethod
    def of(cls, workspace: Workspace, schedule: str, due: datetime) -> TickFolder:
        """That of the tick of a schedule, which may not be there yet; `due` is in UTC."""
        return cls(workspace.root / "schedules" / schedule / f"{due:%Y-%m-%dT%H-%M-%SZ}")

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

    @property
    def outcome(self) -> Path:
        """What the command has printed: the outcome, JSON."""
        return self.path / "outcome.json"

    @property
    def log(self) -> Path:
        """What the command has told, of all attempts."""
        return self.path / "log"


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
