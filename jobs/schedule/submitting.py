"""The job of a tick, submitted by the command line as a person would: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from aigc.data.files import write_text
from aigc.errors import FactoryError
from cluster.cancellation import ask
from cluster.states import State
from cluster.submissions import standing
from cluster.ticks import Tick
from cluster.workspace import Workspace
from jobs.errors import SpecInvalid
from jobs.schedule.once import TickFolder
from jobs.source import Source, parse, written
from jobs.spec import check

TAIL_BYTES = 8192


@dataclass(frozen=True)
class Submitting:
    """Runs `aigc submit` on a place for every tick. Keeps engine.Jobs."""

    workspace: Workspace
    place: str
    insecure: bool = False

    def start(self, tick: Tick) -> subprocess.Popen[bytes]:
        """Submit the job, which knows when it was due.

        Raises SpecInvalid when it is no job any more, WorkspaceUnwritable, OSError.
        """
        folder = self._folder(tick)
        source = parse(tick.definition.encode(), f"schedule {tick.schedule}")
        job = {**_job_in(source), "due": tick.due.isoformat()}
        check(Source(f"{source.file}: job", job, {}))
        write_text(folder.job, written(job))
        words = ["submit", str(folder.job), "--on", self.place, "--yes", "-o", "json"]
        words += ["--tick", str(folder.path), "--attempt", str(tick.attempt)]
        words += ["--insecure-cluster"] if self.insecure else []
        with folder.outcome.open("wb") as outcome, folder.log.open("ab") as log:
            return self._run(words, outcome, log)

    def end(self, tick: Tick, process: subprocess.Popen[bytes]) -> None:
        """Cancel the submission, which reaches it on any machine; or else end the process."""
        submission = self.submission(tick)
        try:
            if submission is not None:
                ask(self.workspace.run(submission))
                return
        except FactoryError:
            # It has not begun, or has just ended.
            pass
        process.terminate()

    def submission(self, tick: Tick) -> str | None:
        """The submission that it has become, once that is known."""
        with suppress(OSError, UnicodeDecodeError):
            return self._folder(tick).submission.read_text().strip() or None
        return None

    def state(self, tick: Tick) -> State | None:
        """That of the submission, as its files have it; no head is asked."""
        submission = self.submission(tick)
        return standing(self.workspace.run(submission)).state if submission else None

    def said(self, tick: Tick) -> str:
        """Why it has failed, by the end of its log; or where that is."""
        path, submission = self._folder(tick).log, self.submission(tick)
        ended = ("FAILED", "CANCELLED", "STOPPED", "INTERRUPTED")
        words = ("error: ", *(f"{submission}: {state}, " for state in ended))
        with suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
            for line in reversed(lines):
                for word in words:
                    if line.startswith(word):
                        return line.removeprefix(word)
        return f"see {path}"

    def _folder(self, tick: Tick) -> TickFolder:
        return TickFolder.of(self.workspace, tick)

    def _run(self, words: list[str], output: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobs", "--workspace", str(self.workspace.root), *words]
        # In a session of its own: what ends the engine does not end its jobs.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            start_new_session=True,
        )


def _job_in(source: Source) -> dict[str, Any]:
    """The spec in a schedule, as it was kept. Raises SpecInvalid."""
    job = source.data.get("job")
    if not isinstance(job, dict):
        raise SpecInvalid([source.problem(("job",), "must be a spec")])
    return job
