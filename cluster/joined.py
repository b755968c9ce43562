"""The Ray of the node that this process runs on, as one that a head has started does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, remove_placement_group

from aigc.errors import first_line
from cluster.errors import HeadUnavailable
from cluster.on_ray import OnRay, connect
from cluster.places import LOOK_SECONDS
from cluster.resources import SLOT, Capacity, Node, slots

JOINING_SECONDS = 60.0
"""Within which the nodes of a cluster that has just been started have joined it."""


class JoinedRay(OnRay):
    """Ray Train and Ray tasks on the cluster at RAY_ADDRESS, which goes on without this process."""

    name = "cluster"
    patience = JOINING_SECONDS
    shared = True

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()

    def capacity(self) -> Capacity:
        """The nodes that are alive. Raises HeadUnavailable."""
        self._connect()
        free = available_resources_per_node()  # type: ignore[no-untyped-call]
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        there = slots(node["Resources"] for node in alive)
        nodes = [
            Node(*_amounts(node["Resources"]), *_amounts(free.get(node["NodeID"], {})))
            for node in alive
        ]
        return Capacity(tuple(nodes), there, (there or 0) - (slots(free.values()) or 0))

    @contextmanager
    def slot(self, waiting: Callable[[], None]) -> Iterator[None]:
        """A slot that Ray takes back when this process ends, however it ends."""
        if self.capacity().slots is None:
            yield
            return
        held = placement_group([{SLOT: 1}])
        try:
            while not held.wait(LOOK_SECONDS):
                waiting()
            yield
        finally:
            remove_placement_group(held)

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        address = os.environ.get("RAY_ADDRESS")
        if not address:
            raise HeadUnavailable(
                "--on cluster is for a process on a node of a cluster, and RAY_ADDRESS is not set",
                "Hand the spec to the cluster's head: aigc submit SPEC --on https://HEAD:8265",
            )
        try:
            connect(address=address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise HeadUnavailable(
                f"no cluster answers at RAY_ADDRESS={address}: {first_line(error)}",
                "Check it with: ray status",
            ) from error


def _amounts(resources: dict[str, float]) -> tuple[float, float]:
    """CPUs and GPUs."""
    return resources.get("CPU", 0.0), resources.get("GPU", 0.0)
