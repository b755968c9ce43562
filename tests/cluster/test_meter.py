"""A meter measures what its block uses, once."""

from __future__ import annotations

import pickle
import time
from functools import partial

import pytest

from cluster.meter import Usage, metered
from cluster.metered import Metered
from cluster.places import Here
from cluster.resources import Resources
from cluster.tasks import behind


def compute(seconds: float) -> None:
    """Keep the processor busy for that much of its own time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


def test_a_block_uses_what_it_computes_and_holds_what_it_was_given() -> None:
    with metered(cpus=2) as meter:
        compute(0.1)
    assert meter.usage.cpu_seconds >= 0.1
    assert meter.usage.cpu_held_seconds >= 0.19, "two clocks, that differ a little"
    used = meter.usage
    compute(0.05)
    assert meter.usage == used


def test_what_an_inner_meter_has_is_not_counted_twice() -> None:
    with metered() as outer:
        compute(0.05)
        with metered(cpus=1) as inner:
            compute(0.2)
    assert inner.usage.cpu_seconds >= 0.2
    assert 0.05 <= outer.usage.cpu_seconds < 0.2
    assert outer.usage.cpu_held_seconds == outer.usage.cpu_seconds


def test_a_meter_inside_one_inside_another_is_subtracted_once() -> None:
    with metered() as outer:
        with metered() as middle:
            with metered():
                compute(0.1)
            compute(0.05)
        compute(0.05)
    assert 0.05 <= middle.usage.cpu_seconds < 0.1
    assert 0.05 <= outer.usage.cpu_seconds < 0.1


def test_a_block_that_fails_leaves_no_meter_behind() -> None:
    def fail() -> None:
        with metered():
            raise KeyError

    with metered() as outer:
        with pytest.raises(KeyError):
            fail()
        with metered() as after:
            compute(0.05)
    assert after.usage.cpu_seconds >= 0.05
    assert outer.usage.cpu_seconds < 0.05


def test_usages_travel_and_add_up() -> None:
    one = Usage(1, 2, 3, 4, 5)
    assert pickle.loads(pickle.dumps(one)) == one == Usage.of(one.as_dict())
    assert sum([one, one], Usage()) == Usage(2, 4, 6, 8, 10)
    unknown = Usage(gpu_busy_seconds=None, gpu_held_seconds=1, gpu_joules=None)
    assert one + unknown == Usage(1, 2, None, 5, None)


def test_what_is_left_to_a_thread_is_counted_too() -> None:
    place = Metered(Here())
    left = behind(lambda seconds: partial(compute, seconds))
    list(place.map(left, [0.05, 0.1], Resources()))
    assert place.usage.cpu_seconds >= 0.15
