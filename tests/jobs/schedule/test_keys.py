"""What a tick is known by outside of the store; another form of it would be another tick."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from cluster.schedules import Schedules
from cluster.store import Store
from cluster.ticks import Tick, Ticks
from cluster.workspace import Workspace
from jobs.schedule.once import TickFolder
from jobs.source import Source
from jobs.spec import check

DUE = datetime(2027, 1, 31, 1, 30, tzinfo=UTC)


@pytest.fixture
def tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tick:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    store = Store.of(Workspace.at(tmp_path))

    def clock(connection: Connection) -> datetime:
        return DUE

    schedules = Schedules(store, "here", clock)
    schedules.create("nightly", "", True, lambda now: None)
    schedules.trigger("nightly", timedelta(hours=1), "")
    (claimed,) = Ticks(store, "here", clock).claim("me", timedelta(hours=1))
    return claimed


def test_the_folder_of_a_tick_has_the_name_it_always_had(tick: Tick, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    folders = tmp_path / "schedules" / "nightly"
    assert TickFolder.of(workspace, tick).path == folders / "2027-01-31T01-30-00Z"
    made_up = replace(tick, backfill="0123456789abcdef")
    assert TickFolder.of(workspace, made_up).path == folders / "2027-01-31T01-30-00Z-01234567"


def test_the_due_time_of_a_job_has_one_form(tick: Tick) -> None:
    assert tick.due.isoformat() == "2027-01-31T01:30:00+00:00"
    job = {
        "kind": "generate",
        "name": "nightly",
        "model": "digits@champion",
        "count": 10,
        "publish": {"dataset": "digits-nightly"},
    }
    spec = check(Source("job", {**job, "due": tick.due.isoformat()}, {}))
    assert spec.model_dump(mode="json")["due"] == "2027-01-31T01:30:00+00:00"


def test_a_jitter_is_what_it_always_was(asking: Any) -> None:
    """Engines of two versions that run side by side start a tick at the same moment."""
    kept = asking("30 2 * * *", "Europe/Berlin", jitter="1h")
    assert kept.start_of(DUE) - DUE == timedelta(seconds=2846)
