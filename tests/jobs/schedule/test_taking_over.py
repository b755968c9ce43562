"""What an engine has begun of an attempt, and did not see the end of."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from cluster.errors import Cancelled, JobFailed
from cluster.record import begin_run
from cluster.states import State
from cluster.submissions import standing
from cluster.tracking import Tracking
from cluster.workspace import RunFolder, Workspace
from jobs.cli import main
from jobs.progress import Reporter
from jobs.schedule.once import mark_at, prepare_for
from jobs.session import open_session
from jobs.spec import check, source_of
from jobs.specs import SPECS

SPEC = str(SPECS / "tiny" / "vae.yaml")
PLAIN = ("evaluation.metrics=[]", "registry=null", "training.steps=1", "resources.workers=1")


class Begun:
    """A tick whose first attempt was begun by an engine that is no more."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.folder = Workspace.at(root / "workspace"), root / "tick"
        self.folder.mkdir()
        import_dataset(self.workspace.datasets, "digits")
        source = source_of(Path(SPEC), PLAIN)
        session = open_session(self.workspace, "here", Reporter())
        self.run: RunFolder = prepare_for(self.folder, check(source), session, source).run
        mark_at(self.folder, 1, self.run)

    def ends(self, status: str, error: BaseException) -> None:
        tracked = begin_run(Tracking(self.workspace), self.run.submission, "t", {})
        tracked.end(status, error)

    def submit(self, attempt: int) -> int:
        words = [word for each in PLAIN for word in ("--set", each)]
        words += ["--tick", str(self.folder), "--attempt", str(attempt), "--yes"]
        return main(
            ["--workspace", str(self.workspace.root), "submit", SPEC, "--on", "here", *words]
        )

    @property
    def state(self) -> State:
        return standing(self.run).state


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begun:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    return Begun(tmp_path)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [("FAILED", JobFailed("it did not learn"), 100), ("KILLED", Cancelled("by a person"), 103)],
)
def test_a_job_that_ended_while_nobody_looked_is_not_begun_again(
    begun: Begun,
    status: str,
    error: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun.ends(status, error)
    before = begun.run.outbox.read_bytes()
    assert begun.submit(attempt=1) == code
    assert begun.run.outbox.read_bytes() == before
    assert f"{begun.run.submission}: {begun.state}, " in capsys.readouterr().err
    # The next attempt is one: that end is none of its own.
    assert begun.submit(attempt=2) == 0
    assert begun.state == "SUCCEEDED"


def test_a_job_that_was_stopped_goes_on(begun: Begun) -> None:
    begun.ends("KILLED", KeyboardInterrupt())
    assert begun.submit(attempt=1) == 0
    assert begun.state == "SUCCEEDED"


def test_an_attempt_that_never_came_so_far_is_begun(begun: Begun) -> None:
    assert begun.submit(attempt=1) == 0
    assert begun.state == "SUCCEEDED"
