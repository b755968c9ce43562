"""Schedules and ticks in a store: decided once, claimed by one, and recorded as the last owner
says. SQLite and PostgreSQL, by a clock that the tests set."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from cluster.decided import Closed, Decisions, Start
from cluster.errors import ScheduleExists, ScheduleNotFound
from cluster.schedules import Decide, Entry, Schedules
from cluster.store import Store
from cluster.tables import TICKS
from cluster.ticks import Tick, Ticks, milliseconds, store_clock
from cluster.workspace import Workspace

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)

pytestmark = [
    pytest.mark.usefixtures("decisions"),
    pytest.mark.parametrize("decisions", ["sqlite", "postgresql"], indirect=True),
]


@dataclass
class Kept:
    """The schedules and ticks of a workspace, and what time it is there."""

    store: Store
    workspace: str
    now: datetime = NOON

    def __post_init__(self) -> None:
        self.schedules = Schedules(self.store, self.workspace, self.clock)
        self.ticks = Ticks(self.store, self.workspace, self.clock)

    def clock(self, connection: Connection) -> datetime:
        return self.now

    def add(self, name: str = "nightly", alone: bool = True) -> Entry:
        return self.schedules.create(name, f"of {name}", alone, lambda now: now + HOUR)

    def outcomes(self, name: str = "nightly") -> list[tuple[int, str]]:
        return [(each.due.hour, each.state) for each in reversed(self.ticks.history(name))]

    def claimed(self) -> Tick:
        (tick,) = self.ticks.claim("me", MINUTE)
        return tick


@pytest.fixture
def kept(workspace: Workspace, decisions: None) -> Kept:
    return Kept(Store.of(workspace), str(workspace.root))


def starting(*hours: int, by: timedelta = HOUR, replacing: bool = False) -> Decide:
    """Decides that the ticks of these hours start; those that are live make room if asked."""

    def decide(
        entry: Entry, live: Collection[datetime], now: datetime
    ) -> tuple[Decisions, datetime | None]:
        due = [NOON.replace(hour=hour) for hour in hours]
        starts = tuple(Start(each, each, each + by) for each in due)
        room = tuple(live) if replacing else ()
        return Decisions(now, starts, (), room), now + HOUR

    return decide


def closing(*hours: int) -> Decide:
    """Decides that the ticks of these hours are missed."""

    def decide(
        entry: Entry, live: Collection[datetime], now: datetime
    ) -> tuple[Decisions, datetime | None]:
        due = [NOON.replace(hour=hour) for hour in hours]
        return Decisions(now, (), tuple(Closed(each, each, 1, "missed", "") for each in due)), None

    return decide


def test_a_schedule_is_there_once_and_begins_now(kept: Kept) -> None:
    entry = kept.add()
    assert (entry.cursor, entry.next_due, entry.paused) == (NOON, NOON + HOUR, False)
    with pytest.raises(ScheduleExists):
        kept.add()
    with pytest.raises(ScheduleNotFound):
        kept.schedules.find("other")
    assert [each.name for each in kept.schedules.all()] == ["nightly"]


def test_another_workspace_of_the_same_store_has_its_own(kept: Kept) -> None:
    kept.add()
    other = Kept(kept.store, f"{kept.workspace}-other")
    other.add()
    other.schedules.advance(["nightly"], starting(11))
    assert kept.ticks.claim("me", MINUTE) == []
    assert kept.ticks.history() == []


def test_a_schedule_is_pending_when_it_has_something_to_decide(kept: Kept) -> None:
    kept.add()
    assert kept.schedules.pending() == []
    kept.now += HOUR
    assert kept.schedules.pending() == ["nightly"]
    kept.schedules.advance(["nightly"], closing(13))
    assert kept.schedules.pending() == []
    assert kept.schedules.find("nightly").cursor == kept.now


def test_a_tick_is_written_down_once(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    tick = kept.claimed()
    assert kept.ticks.finish(tick, "ran", "")
    kept.schedules.advance(["nightly"], starting(11))
    kept.schedules.advance(["nightly"], closing(11))
    assert kept.outcomes() == [(11, "ran")]


def test_a_tick_is_claimed_by_one(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    tick = kept.claimed()
    assert (tick.due.hour, tick.attempt, tick.token, tick.owner) == (11, 1, 1, "me")
    assert tick.definition == "of nightly"
    assert kept.ticks.claim("other", MINUTE) == []


def test_a_tick_whose_owner_is_lost_goes_on_in_the_same_attempt(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    lost = kept.claimed()
    assert kept.ticks.intend(lost, "nightly-123")
    kept.now += 2 * MINUTE
    (found,) = kept.ticks.claim("other", MINUTE)
    assert (found.attempt, found.token, found.submission) == (1, 2, "nightly-123")
    # What the lost owner says counts no more.
    assert kept.ticks.renew(lost, MINUTE) is None
    assert kept.ticks.intend(lost, "another") is None
    assert not kept.ticks.finish(lost, "failed", "")
    assert not kept.ticks.put_back(lost, MINUTE, "")
    assert kept.ticks.finish(found, "ran", "")
    assert kept.outcomes() == [(11, "ran")]
    assert not kept.ticks.finish(found, "failed", "")


def test_a_claim_that_is_renewed_is_not_lost(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    tick = kept.claimed()
    kept.now += MINUTE
    assert kept.ticks.renew(tick, MINUTE) is not None
    kept.now += MINUTE
    assert kept.ticks.claim("other", MINUTE) == []


def test_a_tick_that_is_put_back_waits_for_its_next_attempt(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    tick = kept.claimed()
    assert kept.ticks.put_back(tick, 2 * HOUR, "it failed")
    assert kept.ticks.claim("me", MINUTE) == []
    kept.now += 2 * HOUR
    # The deadline is that of the first attempt.
    assert kept.claimed().attempt == 2


def test_only_one_tick_is_at_work_where_overlaps_are_forbidden(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(10, 11, by=3 * HOUR))
    first = kept.claimed()
    assert first.due.hour == 10
    assert kept.ticks.claim("me", MINUTE) == []
    kept.ticks.finish(first, "ran", "")
    assert kept.claimed().due.hour == 11


def test_ticks_run_side_by_side_where_they_may(kept: Kept) -> None:
    kept.add(alone=False)
    kept.schedules.advance(["nightly"], starting(10, 11, by=3 * HOUR))
    assert {kept.claimed().due.hour, kept.claimed().due.hour} == {10, 11}


def test_a_tick_whose_turn_does_not_come_in_time_is_missed(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    kept.now += MINUTE
    assert kept.ticks.claim("me", MINUTE) == []
    assert kept.outcomes() == [(11, "missed")]


def test_ticks_that_are_replaced_end_or_are_asked_to(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(10, 11, by=3 * HOUR))
    running = kept.claimed()
    kept.schedules.advance(["nightly"], starting(12, replacing=True))
    assert kept.outcomes() == [(10, "running"), (11, "replaced"), (12, "waiting")]
    asked = kept.ticks.renew(running, MINUTE)
    assert asked is not None
    assert asked.to_end
    assert kept.ticks.claim("me", MINUTE) == []
    kept.ticks.finish(running, "replaced", "")
    assert kept.claimed().due.hour == 12


def test_what_is_changed_starts_nothing_that_waited(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    kept.now += MINUTE
    changed = kept.schedules.change(
        "nightly", closing(), definition="new", paused=True, next_after=lambda now: now + MINUTE
    )
    assert (changed.definition, changed.paused, changed.cursor) == ("new", True, kept.now)
    assert changed == kept.schedules.find("nightly")
    assert changed.next_due == kept.now + MINUTE
    assert kept.outcomes() == [(11, "skipped")]


def test_the_ticks_of_a_deleted_schedule_stay(kept: Kept) -> None:
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    kept.schedules.remove("nightly", closing(12))
    assert kept.outcomes() == [(11, "skipped"), (12, "missed")]
    assert kept.schedules.advance(["nightly"], starting(12)) == {}
    with pytest.raises(ScheduleNotFound):
        kept.schedules.remove("nightly", closing())


def test_a_tick_can_be_added_by_hand(kept: Kept) -> None:
    kept.add()
    assert kept.schedules.trigger("nightly", HOUR, "by me") == NOON
    assert kept.schedules.trigger("nightly", HOUR, "by me") == NOON + timedelta(seconds=1)
    tick = kept.claimed()
    assert (tick.due, tick.reason) == (NOON, "by me")


def test_a_store_tells_the_time(kept: Kept) -> None:
    with kept.store.transaction() as connection:
        told = store_clock(connection)
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=5)
    assert milliseconds(told) % 1000 == told.microsecond // 1000


@pytest.mark.parametrize("alone", [True, False])
def test_many_at_once_claim_each_tick_once(kept: Kept, alone: bool) -> None:
    kept.add(alone=alone)
    kept.schedules.advance(["nightly"], starting(*range(12), by=24 * HOUR))
    claimed = list[datetime]()
    most = list[int]()

    def work() -> None:
        for _ in range(60):
            for tick in kept.ticks.claim("me", HOUR, 3):
                claimed.append(tick.due)
                most.append(sum(each.state == "running" for each in kept.ticks.history()))
                assert kept.ticks.finish(tick, "ran", "")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [NOON.replace(hour=hour) for hour in range(12)]
    assert max(most) == 1 or not alone


def test_many_at_once_decide_each_moment_once(kept: Kept) -> None:
    """Whoever comes second sees where the first one has come to."""
    kept.add(alone=False)
    seen = list[tuple[datetime, datetime]]()

    def decide(
        entry: Entry, live: Collection[datetime], now: datetime
    ) -> tuple[Decisions, datetime | None]:
        following = entry.cursor + MINUTE
        seen.append((entry.cursor, following))
        return Decisions(following, (Start(following, following, following + HOUR),)), None

    def work() -> None:
        for _ in range(10):
            kept.schedules.advance(["nightly"], decide)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(NOON + n * MINUTE, NOON + (n + 1) * MINUTE) for n in range(40)]
    assert len(kept.ticks.history()) == 40


def test_history_that_is_purged_fires_nothing_again(kept: Kept) -> None:
    kept.add()
    kept.now += HOUR
    kept.schedules.advance(["nightly"], starting(13))
    assert kept.ticks.finish(kept.claimed(), "ran", "")
    with kept.store.transaction() as connection:
        connection.execute(TICKS.delete())
    assert kept.schedules.pending() == []
    assert kept.ticks.claim("me", MINUTE) == []
    assert kept.schedules.find("nightly").cursor == kept.now
    assert kept.outcomes() == []


def test_the_key_of_a_tick_is_what_it_always_was(kept: Kept) -> None:
    """Another form of it would be another key: every tick would be there once more."""
    kept.add()
    kept.schedules.advance(["nightly"], starting(11))
    columns = [column.name for column in TICKS.primary_key]
    assert columns == ["workspace", "schedule", "due"]
    with kept.store.transaction() as connection:
        (row,) = connection.execute(select(*(TICKS.c[name] for name in columns)))
    assert tuple(row) == (kept.workspace, "nightly", 1781089200000)
