"""The line for a shared cluster: who is first, what is waited for, and what outlives a process."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cancellation import ask, see_off
from cluster.errors import AlreadyRunning
from cluster.line import AGING_SECONDS, Ticket, hindrance, turn
from cluster.resources import Capacity, Node, Resources, without
from cluster.states import Standing
from cluster.submissions import standing
from cluster.workspace import Workspace

ONE, TWO = Resources(workers=1), Resources(workers=2)
IDLE = Capacity((Node(1, 0, 1, 0), Node(1, 0, 1, 0)))
BUSY = Capacity((Node(1, 0, 0, 0), Node(1, 0, 1, 0)))

tickets = st.builds(
    Ticket,
    st.uuids().map(str),
    st.integers(-100, 100),
    st.integers(0, 10**9),
    st.builds(Resources, workers=st.integers(1, 4)),
    st.booleans(),
)


@dataclass(frozen=True)
class Fixed:
    """A cluster that is as it is."""

    there: Capacity
    name: str = "fixed"
    patience: float = 0.0

    def capacity(self) -> Capacity:
        return self.there

    def needs(self, resources: Resources) -> Resources:
        return resources


def ticket(name: str, since: int = 0, priority: int = 0, resources: Resources = ONE) -> Ticket:
    return Ticket(name, priority, since, resources)


def test_the_higher_priority_comes_first_and_then_the_older() -> None:
    line = [ticket("late", 2), ticket("early", 1), ticket("urgent", 3, 1), ticket("idle", 0, -1)]
    ranked = [each.submission for each in sorted(line, key=lambda each: each.rank(4))]
    assert ranked == ["urgent", "early", "late", "idle"]


def test_job_slots_are_taken_by_other_workspaces_too() -> None:
    free = replace(IDLE, slots=2, slots_taken=1)
    assert hindrance(ticket("mine"), [], free, 1) is None
    taken = replace(IDLE, slots=2, slots_taken=2)
    assert hindrance(ticket("mine"), [], taken, 1) == "all 2 job slots of the cluster are taken"


def test_waiting_counts_as_priority() -> None:
    old, urgent = ticket("old", 0), ticket("urgent", int(3000 * AGING_SECONDS), 3)
    at = urgent.since
    assert urgent.rank(at - 1) < old.rank(at - 1)
    assert old.rank(at + 1) < urgent.rank(at + 1)


@given(st.lists(tickets, min_size=1, max_size=6, unique_by=lambda each: each.submission))
def test_nobody_waits_for_ever(line: list[Ticket]) -> None:
    """On an idle cluster somebody's turn has come, and it is that of the first alone."""
    line = [replace(each, admitted=False) for each in line]
    wide = Capacity((Node(1000, 0, 1000, 0),))
    at = max(each.since for each in line)
    free = [
        each
        for each in line
        if hindrance(each, [other for other in line if other != each], wide, at) is None
    ]
    assert free == [min(line, key=lambda each: each.rank(at))]


@given(st.lists(tickets, max_size=8), st.integers(0, 4))
def test_no_more_jobs_run_than_there_are_slots(others: list[Ticket], slots: int) -> None:
    at_work = sum(each.admitted for each in others)
    wide = Capacity((Node(1000, 0, 1000, 0),), slots)
    mine = ticket("mine", 0, 100)
    if at_work >= slots:
        assert "job slots" in str(hindrance(mine, others, wide, 0))


def test_what_does_not_fit_now_waits_and_is_not_overtaken() -> None:
    large, small = ticket("large", 0, resources=TWO), ticket("small", 1)
    assert hindrance(large, [small], BUSY, 2) == "2 × (1 CPU) fits when other jobs have ended"
    assert hindrance(small, [large], BUSY, 2) == "1 before it in the line, large first"
    assert hindrance(small, [], BUSY, 2) is None


def test_what_was_promised_a_moment_ago_is_not_given_twice() -> None:
    begun = replace(ticket("begun", 0, resources=TWO), admitted=True)
    assert hindrance(ticket("next", 1), [begun], IDLE, 2) is not None
    assert hindrance(ticket("next", 1), [replace(begun, resources=ONE)], IDLE, 2) is None


@given(st.lists(st.builds(Resources, workers=st.integers(1, 5), cpus_per_worker=st.integers(1, 3))))
def test_a_promise_takes_no_more_than_there_is(promised: list[Resources]) -> None:
    left = without(Capacity((Node(4, 0), Node(2, 0), Node(1, 0))), promised)
    assert all(0 <= node.cpus_free <= node.cpus for node in left.nodes)
    given_ = sum(node.cpus - node.cpus_free for node in left.nodes)
    assert given_ <= sum(each.fewest * each.cpus_per_worker for each in promised)


def stand(root: Path, name: str, resources: Resources, room: Fixed, priority: int) -> None:
    """A process in the line; once it is its turn, it says so and stays."""
    run = Workspace.at(root).run(name)
    with turn(run, resources, room, priority, lambda _: None):
        (root / f"{name}.turn").touch()
        while not (root / f"{name}.end").exists():
            time.sleep(0.02)


class Line:
    def __init__(self, root: Path) -> None:
        self.workspace, self._spawn = Workspace.at(root), multiprocessing.get_context("spawn")
        self.processes = dict[str, SpawnProcess]()

    def join(self, name: str, capacity: Capacity, priority: int = 0) -> None:
        words = (self.workspace.root, name, ONE, Fixed(capacity), priority)
        self.processes[name] = self._spawn.Process(target=stand, args=words)
        self.processes[name].start()
        until(lambda: self.state(name) is not None or self.has_turn(name))

    def state(self, name: str) -> Standing | None:
        """What is said of it as long as it waits."""
        present = standing(self.workspace.run(name))
        return present if present.state == "QUEUED" else None

    def has_turn(self, name: str) -> bool:
        return (self.workspace.root / f"{name}.turn").exists()

    def end(self, name: str) -> None:
        (self.workspace.root / f"{name}.end").touch()
        self.processes[name].join()

    def kill(self, name: str) -> None:
        os.kill(self.processes[name].pid or 0, signal.SIGKILL)
        self.processes[name].join()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path / "workspace")
    yield line
    for process in line.processes.values():
        process.kill()
        process.join()


def until(holds: Callable[[], bool]) -> None:
    last = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < last, "it does not come true"
        time.sleep(0.02)


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(AlreadyRunning, match="another process waits"):
        yield


def test_processes_come_to_their_turn_in_order(line: Line) -> None:
    narrow = Capacity((Node(8, 0, 8, 0),), slots=1)
    line.join("first", narrow)
    until(lambda: line.has_turn("first"))
    line.join("second", narrow)
    line.join("urgent", narrow, 5)
    waiting = line.state("second")
    assert waiting == Standing("QUEUED", "all 1 job slots of the cluster are taken")

    with refused(), turn(line.workspace.run("second"), ONE, Fixed(narrow), 0, print):
        pass
    line.end("first")
    until(lambda: line.has_turn("urgent"))
    assert not line.has_turn("second")
    # Whoever dies gives its place back without a word.
    line.kill("urgent")
    until(lambda: line.has_turn("second"))
    line.end("second")
    assert list((line.workspace.root / "line").glob("*.json")) == [
        line.workspace.run("urgent").ticket
    ]


def test_the_age_outlives_everything(line: Line) -> None:
    full = Capacity((Node(1, 0, 0, 0),))
    for name in ("old", "young"):
        line.join(name, full)
    before = json.loads(line.workspace.run("old").ticket.read_text())
    for name in ("old", "young"):
        line.kill(name)
    assert line.state("old") is None

    for name in ("young", "old"):
        line.join(name, full)
    until(lambda: (said := line.state("young")) is not None and "old first" in said.reason)
    assert json.loads(line.workspace.run("old").ticket.read_text())["since"] == before["since"]


def test_who_waits_can_be_cancelled(line: Line) -> None:
    line.join("some", Capacity((Node(1, 0, 0, 0),)))
    run = line.workspace.run("some")
    see_off(run, ask(run), 30)
    line.processes["some"].join()
    assert line.state("some") is None
    assert not line.has_turn("some")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"since": "x"}', '{"resources": {"workers": 0}}'])
def test_a_damaged_ticket_is_made_anew(text: str, line: Line) -> None:
    run = line.workspace.run("some")
    run.ticket.parent.mkdir(parents=True)
    run.ticket.write_text(text)
    with turn(run, ONE, Fixed(IDLE), 0, print):
        assert Ticket.read(run.ticket) is not None
    assert not run.ticket.exists()
