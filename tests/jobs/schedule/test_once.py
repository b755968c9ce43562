"""The job of a tick is pinned once: later attempts are the same submission."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from cluster.workspace import Workspace
from jobs.handover import entrypoint
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


def test_newer_code_between_two_attempts_makes_no_other_submission(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, source = TickFolder(tmp_path / "tick"), Source("s", {}, {})
    folder.path.mkdir()
    spec = asked(f"due={DUE}")
    first = prepare_for(folder.path, spec, session, source)
    monkeypatch.setattr("jobs.submission.code_digest", lambda: "upgraded")
    assert prepare_for(None, spec, session, source).id != first.id
    again = prepare_for(folder.path, spec, session, source)
    assert (again.id, again.run) == (first.id, first.run)
    # The process that a head starts runs the newer code, too.
    assert entrypoint(again, session.workspace, 0).endswith(f" --tick {folder.path}")


def test_whoever_pins_a_tick_and_dies_leaves_its_name_to_the_next(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, source = TickFolder(tmp_path / "tick"), Source("s", {}, {})
    folder.path.mkdir()
    spec = asked(f"due={DUE}")
    prepare_for(folder.path, spec, session, source)
    folder.submission.unlink()
    monkeypatch.setattr("jobs.submission.code_digest", lambda: "upgraded")
    second = prepare_for(folder.path, spec, session, source)
    assert second.id == folder.submission.read_text()


def test_another_tick_is_another_submission(session: Session) -> None:
    source = Source("s", {}, {})
    plain = prepare_for(None, asked(), session, source)
    first = prepare_for(None, asked(f"due={DUE}"), session, source)
    second = prepare_for(None, asked("due=2027-02-01T02:00:00+00:00"), session, source)
    assert len({plain.id, first.id, second.id}) == 3
    assert prepare_for(None, asked(f"due={DUE}"), session, source).id == first.id
