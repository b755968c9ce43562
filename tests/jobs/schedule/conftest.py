from __future__ import annotations

from typing import Any

import pytest

from jobs.schedule.definition import Schedule, check_schedule
from jobs.source import Source

JOB = {
    "kind": "generate",
    "name": "nightly",
    "model": "digits@champion",
    "count": 10,
    "publish": {"dataset": "digits-nightly"},
}


class Asking:
    """Makes schedules of one generate job; what is not said is at its default."""

    def __call__(
        self, cron: str = "0 2 * * *", zone: str = "Europe/Berlin", **more: Any
    ) -> Schedule:
        data = {"name": "nightly", "cron": cron, "zone": zone, "job": JOB, **more}
        return check_schedule(Source("nightly.yaml", data, {}))


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time of an engine that runs in this process would be pauses between passes."""
    monkeypatch.setattr("jobs.schedule.engine.LOOK_SECONDS", 0.02)


@pytest.fixture(scope="session")
def asking() -> Asking:
    return Asking()
