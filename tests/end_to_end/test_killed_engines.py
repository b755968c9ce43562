"""Engines that die at any moment: every tick is recorded once, and its job is done once."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import killing
import pytest
import trivial
from servers import Postgres

from cluster.backfill import Backfills
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.ticks import Tick, Ticks
from cluster.workspace import Workspace
from jobs.schedule.backfill import chosen

FIXTURES = Path(killing.__file__).parent
STORES = pytest.mark.parametrize("installation", ["sqlite", "postgresql"], indirect=True)
POINTS = [
    f"{moment}.{name}"
    for name in (
        "pending",
        "advance",
        # Within the transaction of advance: after the ticks are written, before the cursor is.
        "_make_room",
        "_write",
        "claim",
        "_expire",
        "start",
        "submission",
        "intend",
        "finish",
        "_say",
    )
    for moment in ("before", "after")
]


def dying_at(points: list[str], few: list[str]) -> pytest.MarkDecorator:
    """Every point on SQLite; on PostgreSQL a few, and with the slow tests the others."""
    rest = [
        pytest.param("postgresql", point, marks=pytest.mark.slow)
        for point in points
        if point not in few
    ]
    quick = [*(("sqlite", point) for point in points), *(("postgresql", point) for point in few)]
    return pytest.mark.parametrize(
        ("installation", "point"), [*quick, *rest], indirect=["installation"]
    )


class Installation:
    """A workspace, a folder for what jobs leave, and what the store says of their ticks."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.folder = Workspace.at(root / "workspace"), root / "done"
        self.folder.mkdir()
        self.store = Store.of(self.workspace)
        self.schedules = Schedules(self.store, str(self.workspace.root))
        self.ticks = Ticks(self.store, str(self.workspace.root))

    def engine(self, point: str | None = None) -> int:
        """Let an engine do one pass in a process of its own; returns what that ended with."""
        child = os.fork()
        if child == 0:
            try:
                lease = timedelta(seconds=0.1)
                trivial.serve(self.workspace.root, self.folder, lease, point, once=True)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def all_done_once(self, schedules: int, ticks: int) -> list[Tick]:
        """Every tick ran, in its first attempt, and left what it leaves."""
        found = self.ticks.history()
        assert [each for each in found if each.state != "ran" or each.attempt != 1] == []
        assert len({(each.schedule, each.due) for each in found}) == schedules * ticks == len(found)
        assert len(list(self.folder.glob("*.done"))) == schedules * ticks
        return found


@pytest.fixture
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
        monkeypatch.setenv("AIGC_STORE", address)
    return Installation(tmp_path)


def kill(installation: Installation, engines: int, kills: int, schedules: int, ticks: int) -> None:
    """Kill engines at random, and hold what is recorded against what was asked."""
    numbers = [str(number) for number in (engines, kills, schedules, ticks, 7)]
    places = [str(installation.workspace.root), str(installation.folder)]
    command = [sys.executable, str(FIXTURES / "killing.py"), *places, *numbers]
    # In a group of its own, of which none is left, whatever ends this test.
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            output, _ = process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
    assert json.loads(output)["killed"] == kills
    found = installation.all_done_once(schedules, ticks)
    for name in {f"s{number}" for number in range(1, schedules, 2)}:
        mine = sorted((each.started, each.ended) for each in found if each.schedule == name)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(mine))


@STORES
def test_engines_that_are_killed_at_random_lose_no_tick_and_do_none_twice(
    installation: Installation,
) -> None:
    kill(installation, engines=3, kills=20, schedules=4, ticks=5)


@pytest.mark.slow
@STORES
def test_a_thousand_kills_lose_none_of_ten_thousand_ticks_and_do_none_twice(
    installation: Installation,
) -> None:
    kill(installation, engines=8, kills=1000, schedules=100, ticks=100)


@dying_at(POINTS, POINTS[::4])
def test_whoever_comes_after_a_crash_finishes_what_was_begun(
    installation: Installation, point: str
) -> None:
    killing.add(installation.store, installation.schedules, "s0", "forbid", 2)
    assert installation.engine(point) == 99
    for _ in range(100):
        assert installation.engine() == 0
        if not installation.ticks.live() and not installation.schedules.pending():
            break
    installation.all_done_once(1, 2)


@dying_at(["after.claim", "after.start", "before.finish", "after.finish"], ["after.start"])
def test_a_backfill_goes_on_after_a_crash(installation: Installation, point: str) -> None:
    killing.add(installation.store, installation.schedules, "s0", "forbid", 2)
    for _ in range(3):
        assert installation.engine() == 0
    installation.all_done_once(1, 2)
    backfills = Backfills(installation.store, str(installation.workspace.root))
    first, last = sorted(tick.due for tick in installation.ticks.history())
    choose = functools.partial(chosen, since=first, until=last, reprocess="all")
    assert backfills.ask("s0", first, last, choose, 1, "by me").ticks == [first, last]
    assert installation.engine(point) == 99
    for _ in range(100):
        assert installation.engine() == 0
        if not installation.ticks.live():
            break
    ended = [(tick.due, tick.state, tick.attempt) for tick in installation.ticks.history()]
    assert ended == [(last, "backfilled", 1), (first, "backfilled", 1)]
