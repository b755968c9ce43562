"""The job of a tick is pinned once: later attempts are the same submission."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.schedule.once import TickFolder, prepare_for
from jobs.session import Session, open_session
from jobs.source import Source
from jobs.spec import Spec, load
from jobs.specs import SPECS

DUE = "2027-01-31T02:00:00+00:00"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    workspace = Workspace.at(tmp_path / "workspace")
    import_dataset(workspace.datasets, "digits")
    return open_session(workspace, "here", Reporter())


def asked(*settings: str) -> Spec:
    return load(SPECS / "tiny" / "vae.yaml", settings)


def test_a_later_attempt_is_the_same_submission_though_the_dataset_is_newer(
    session: Session, tmp_path: Path
) -> None:
    folder, source = TickFolder(tmp_path / "tick"), Source("s", {}, {})
    folder.path.mkdir()
    first = prepare_for(folder.path, asked(f"due={DUE}"), session, source)
    # What the name means has changed since: it is as if the spec asked for something else.
    again = prepare_for(folder.path, asked(f"due={DUE}", "training.seed=5"), session, source)
    assert again.id == first.id == folder.submission.read_text()


def test_another_tick_is_another_submission(session: Session) -> None:
    source = Source("s", {}, {})
    plain = prepare_for(None, asked(), session, source)
    first = prepare_for(None, asked(f"due={DUE}"), session, source)
    second = prepare_for(None, asked("due=2027-02-01T02:00:00+00:00"), session, source)
    assert len({plain.id, first.id, second.id}) == 3
    assert prepare_for(None, asked(f"due={DUE}"), session, source).id == first.id
