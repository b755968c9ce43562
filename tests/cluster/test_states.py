"""The state of a submission follows from plain facts."""

from __future__ import annotations

import pytest

from cluster.errors import Cancelled
from cluster.states import CANCELLED_BY, STATES, Facts, judge, seconds_left
from jobs.errors import CODES_OF_STATES


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        (Facts(held=True, begun=False), "PENDING", "about to begin"),
        (Facts(held=True), "RUNNING", "at work"),
        (Facts(held=True, done=True), "RUNNING", "at work"),
        (Facts(held=True, stopping=True), "RUNNING", "asked to stop"),
        (Facts(held=True, end="FINISHED"), "SUCCEEDED", "done"),
        (Facts(held=False, end="FINISHED"), "SUCCEEDED", "done"),
        (Facts(held=False, done=True), "SUCCEEDED", "done"),
        (
            Facts(held=False, end="FAILED", error="WorkerLost", said="no"),
            "FAILED",
            "WorkerLost: no",
        ),
        (Facts(held=False, end="FAILED", done=True), "FAILED", "see its logs"),
        (Facts(held=False, end="KILLED", error="Cancelled", step=7), "CANCELLED", "from step 7"),
        (Facts(held=False, end="KILLED", error="Cancelled"), "CANCELLED", "begins it again"),
        (Facts(held=False, end="KILLED", error="Preempted", step=7), "STOPPED", "from step 7"),
        (Facts(held=False, end="KILLED", error="KeyboardInterrupt"), "STOPPED", "a signal"),
        (Facts(held=False, end="KILLED", step=7), "INTERRUPTED", "from step 7"),
        (Facts(held=False, step=7), "INTERRUPTED", "without a word"),
        (Facts(held=False, begun=False), "INTERRUPTED", "before it began"),
        (Facts(held=False, end="nonsense"), "INTERRUPTED", "without a word"),
    ],
)
def test_the_state_follows_from_the_facts(facts: Facts, state: str, said: str) -> None:
    judged = judge(facts)

    assert judged.state == state
    assert said in judged.reason
    assert judged.has_ended == (state not in ("PENDING", "RUNNING"))


def test_what_cancels_is_known_by_its_name() -> None:
    assert Cancelled.__name__ == CANCELLED_BY


def test_each_state_has_its_exit_code() -> None:
    assert set(CODES_OF_STATES) == set(STATES)
    assert [state for state, code in CODES_OF_STATES.items() if code == 0] == ["SUCCEEDED"]


@pytest.mark.parametrize(
    ("reports", "steps", "now", "left"),
    [
        ([(0, 0), (10_000, 100)], 200, 10_000, 10.0),
        ([(0, 0), (10_000, 100)], 200, 14_000, 6.0),
        ([(0, 0), (10_000, 100)], 200, 90_000, 0.0),
        ([(0, 0), (5_000, 90), (10_000, 100)], 200, 10_000, 10.0),
        ([(10_000, 100)], 200, 10_000, None),
        ([], 200, 10_000, None),
        ([(0, 0), (10_000, 100)], None, 10_000, None),
        ([(10_000, 0), (10_000, 100)], 200, 10_000, None),
        ([(0, 100), (10_000, 100)], 200, 10_000, None),
    ],
)
def test_the_time_left_is_at_the_pace_of_the_reports(
    reports: list[tuple[int, int]], steps: int | None, now: int, left: float | None
) -> None:
    assert seconds_left(reports, steps, now) == left
