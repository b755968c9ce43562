"""The plan decides everything, and its version names it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aigc.generation.plan import ModelReference, Plan
from aigc.layout import Layout

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "dataset": "nightly",
        "model": ModelReference(name="digits", version=3, digest="ab" * 32),
        "layout": LAYOUT,
        "count": 250,
        "seed": 7,
        "shard_size": 100,
        "code": "ef" * 32,
    }
    return Plan(**(fields | changes))


def test_the_version_of_a_plan_never_changes() -> None:
    assert plan().version == "f750d6018c20"


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "other"},
        {"model": ModelReference(name="digits", version=4, digest="ab" * 32)},
        {"model": ModelReference(name="digits", version=3, digest="cd" * 32)},
        {"layout": LAYOUT.model_copy(update={"labels": ()})},
        {"count": 251},
        {"seed": 8},
        {"shard_size": 101},
        {"code": "00" * 32},
        {"due": "2027-01-31T02:00:00+00:00"},
    ],
)
def test_whatever_is_asked_differently_is_another_version(changes: dict[str, Any]) -> None:
    assert plan(**changes).version != plan().version


def test_every_tick_of_a_schedule_has_samples_of_its_own() -> None:
    first, second = (plan(due=f"2027-01-{day}T02:00:00+00:00") for day in (30, 31))
    seeds = [each.seeds([0]).item() for each in (plan(), first, second)]
    assert len(set(seeds)) == 3
    assert first.seeds([0]) == plan(due=first.due).seeds([0])


def test_every_attempt_at_a_sample_has_a_seed_of_its_own() -> None:
    seeds = {seed for attempt in range(3) for seed in plan().seeds(range(100), attempt).tolist()}
    assert len(seeds) == 300


def test_a_plan_survives_its_file() -> None:
    assert Plan.model_validate_json(plan().model_dump_json(indent=2)) == plan()


@given(st.integers(1, 3000), st.integers(1, 700))
def test_shards_hold_each_sample_once_in_order(count: int, shard_size: int) -> None:
    asked = plan(count=count, shard_size=shard_size)
    shards = [asked.samples(shard) for shard in range(asked.shards)]

    assert [sample for shard in shards for sample in shard] == list(range(count))
    assert {len(shard) for shard in shards[:-1]} <= {shard_size}
    assert 0 < len(shards[-1]) <= shard_size


def test_seeds_are_unique_and_do_not_depend_on_shards() -> None:
    seeds = plan().seeds(range(10_000)).tolist()

    assert len(set(seeds)) == len(seeds)
    assert seeds[40:50] == plan(shard_size=3, count=9).seeds(range(40, 50)).tolist()
    assert plan(seed=8).seeds([0]).item() not in seeds


def test_labels_come_in_turn() -> None:
    classes = plan().classes(range(12))
    assert classes is not None
    assert classes.tolist() == [*range(10), 0, 1]
    assert plan(layout=LAYOUT.model_copy(update={"labels": ()})).classes([5]) is None


@pytest.mark.parametrize("changes", [{"count": 0}, {"shard_size": 0}, {"seed": -1}, {"extra": 1}])
def test_a_plan_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        plan(**changes)
