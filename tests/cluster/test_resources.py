"""Whether a job fits is a pure function of what it asks for and what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.resources import Capacity, Node, Resources, feasibility

LAPTOP = Capacity((Node(cpus=2, cpus_free=2),))


def busy(*sizes: tuple[float, float]) -> Capacity:
    return Capacity(tuple(Node(cpus, gpus) for cpus, gpus in sizes))


def test_what_has_room_fits_now() -> None:
    assert feasibility(Resources(workers=2), LAPTOP).fits == "now"


def test_what_others_use_is_free_when_they_have_ended() -> None:
    found = feasibility(Resources(workers=2), Capacity((Node(cpus=2, cpus_free=1),)))
    assert (found.fits, found.nearest) == ("when idle", None)


def test_too_many_workers_never_fit_and_fewer_are_offered() -> None:
    found = feasibility(Resources(workers=5), busy((2, 0), (1, 0)))
    assert found.fits == "never"
    assert found.nearest == Resources(workers=3)
    assert "5 × (1 CPU)" in found.reason
    assert "3 CPU" in found.reason


def test_a_worker_is_not_spread_over_nodes() -> None:
    found = feasibility(Resources(cpus_per_worker=3), busy((2, 0), (2, 0)))
    assert found.fits == "never"
    assert found.nearest == Resources(cpus_per_worker=2)


def test_without_gpus_the_nearest_runs_on_cpus() -> None:
    found = feasibility(Resources(workers=2, gpus_per_worker=1), LAPTOP)
    assert found.nearest == Resources(workers=2, gpus_per_worker=0)


def test_the_nearest_keeps_a_gpu_where_there_is_one() -> None:
    found = feasibility(Resources(workers=1, cpus_per_worker=8, gpus_per_worker=1), busy((4, 1)))
    assert found.nearest == Resources(workers=1, cpus_per_worker=4, gpus_per_worker=1)


def test_two_small_workers_share_a_gpu() -> None:
    shared = Resources(workers=2, gpus_per_worker=0.5)
    assert feasibility(shared, Capacity((Node(4, 1, 4, 1),))).fits == "now"


def test_rounding_of_free_amounts_costs_no_worker() -> None:
    room = 1 - 0.7 - 0.3 + 1 - 1e-16  # as Ray may report it
    assert room < 1
    assert feasibility(Resources(), Capacity((Node(1, 0, room, 0),))).fits == "now"


def test_an_empty_cluster_offers_nothing() -> None:
    found = feasibility(Resources(), Capacity(()))
    assert (found.fits, found.nearest) == ("never", None)


def test_ray_gives_no_one_and_a_half_gpus() -> None:
    with pytest.raises(ValidationError, match="whole number, or less than 1"):
        Resources(gpus_per_worker=1.5)


asked = st.builds(
    Resources,
    workers=st.integers(1, 9),
    cpus_per_worker=st.integers(1, 6),
    gpus_per_worker=st.sampled_from([0, 0.25, 0.5, 1, 2]),
)
nodes = st.lists(
    st.builds(Node, st.integers(0, 8), st.integers(0, 3), st.just(0), st.just(0)), max_size=4
)


@given(asked, nodes)
def test_what_is_offered_instead_fits_and_asks_for_no_more(
    resources: Resources, machines: list[Node]
) -> None:
    capacity = Capacity(tuple(machines))
    found = feasibility(resources, capacity)
    if found.nearest is None:
        return
    assert feasibility(found.nearest, capacity).fits == "when idle"
    assert found.nearest.most <= resources.most
    assert found.nearest.cpus_per_worker <= resources.cpus_per_worker
    assert found.nearest.gpus_per_worker <= resources.gpus_per_worker


def test_an_elastic_job_fits_where_its_fewest_workers_do() -> None:
    elastic = Resources(workers="2..4")

    assert (elastic.fewest, elastic.most, list(elastic.counts)) == (2, 4, [2, 3, 4])
    assert feasibility(elastic, LAPTOP).fits == "now"
    assert feasibility(Resources(workers="3..4"), LAPTOP).nearest == Resources(workers=2)
    assert "2..4 × (1 CPU)" in str(elastic)


def test_a_range_of_one_number_is_that_number() -> None:
    assert Resources(workers="3..3") == Resources(workers=3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, r"must be at least 1 \(got 0\)"),
        ("4..1", "must begin with the smaller number, as 1..4"),
        ("0..4", "must be a whole number, or a range as 1..4"),
        ("2", "must be a whole number, or a range as 1..4"),
        ("1 .. 4", "must be a whole number"),
        (True, "must be a whole number"),
        (1.5, "must be a whole number"),
        ("1..2000", "must be at most 1024"),
    ],
)
def test_what_is_no_number_of_workers_is_refused(value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Resources.model_validate({"workers": value})
