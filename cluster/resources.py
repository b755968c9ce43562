"""What a job asks of a cluster, and whether it can have it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from aigc.config import Config

SLOT = "job_slot"
DOTS = ".."
MOST_WORKERS = 1024
_RANGE = re.compile(r"([1-9]\d{0,3})\.\.([1-9]\d{0,3})", re.ASCII)


def _counted(value: object) -> int | str:
    """A number of workers, or the least and the greatest number."""
    if isinstance(value, int) and not isinstance(value, bool):
        fewest = most = value
    elif isinstance(value, str) and (found := _RANGE.fullmatch(value)):
        fewest, most = int(found[1]), int(found[2])
    else:
        raise ValueError(f"must be a whole number, or a range as 1..4 (got {value!r:.40})")
    if fewest < 1:
        raise ValueError(f"must be at least 1 (got {value})")
    if fewest > most:
        raise ValueError(f"must begin with the smaller number, as {most}{DOTS}{fewest}")
    if most > MOST_WORKERS:
        raise ValueError(f"must be at most {MOST_WORKERS} (got {value})")
    return value if isinstance(value, str) and fewest < most else most


_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS},
        {"type": "string", "pattern": f"^{_RANGE.pattern}$"},
    ]
}

Workers = Annotated[int | str, PlainValidator(_counted), WithJsonSchema(_SCHEMA)]


class Resources(Config):
    """Equal workers. A worker lives on one node; a share of a GPU is for small models.

    `workers` as 2..4 is elastic: a training begins with as many of them as have room, goes on with
    fewer when some are lost, and with more when there is room again.
    `max_failures`: how often a job is begun again after a worker or a node was lost.
    """

    workers: Workers = 1
    cpus_per_worker: int = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    max_failures: int = Field(default=1, ge=0)

    @property
    def fewest(self) -> int:
        """Workers without which the job does not run."""
        return int(str(self.workers).partition(DOTS)[0])

    @property
    def most(self) -> int:
        """Workers that the job never has more of."""
        return int(str(self.workers).rpartition(DOTS)[2])

    @property
    def use_gpu(self) -> bool:
        """Whether a worker has GPUs, or a share of one."""
        return self.gpus_per_worker > 0

    @property
    def counts(self) -> range:
        """Every number of workers that the job may have."""
        return range(self.fewest, self.most + 1)

    @model_validator(mode="after")
    def _whole_gpus_above_one(self) -> Resources:
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError("gpus_per_worker must be a whole number, or less than 1")
        return self

    def __str__(self) -> str:
        each = f"{self.cpus_per_worker} CPU"
        if self.gpus_per_worker:
            each += f" and {self.gpus_per_worker:g} GPU"
        return f"{self.workers} × ({each})"


@dataclass(frozen=True)
class Node:
    """One machine: what it has, and what of it nobody uses now."""

    cpus: float
    gpus: float = 0.0
    cpus_free: float = 0.0
    gpus_free: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """The machines of a cluster at one moment, and how many jobs it may run at once.

    `slots` is None where nobody has set a limit.
    """

    nodes: tuple[Node, ...]
    slots: int | None = None
    slots_taken: int = 0

    def __str__(self) -> str:
        cpus = sum(node.cpus for node in self.nodes)
        gpus = sum(node.gpus for node in self.nodes)
        return f"{len(self.nodes)} node(s) with {cpus:g} CPU and {gpus:g} GPU in all"


@dataclass(frozen=True)
class Feasibility:
    """Whether a job fits `never`, `when idle` or `now`, why, and otherwise what would fit.

    `nearest` is None when the job fits, and when nothing would.
    """

    fits: Literal["never", "when idle", "now"]
    reason: str
    nearest: Resources | None = None


def feasibility(resources: Resources, capacity: Capacity) -> Feasibility:
    """Judge a job by the cluster's machines. Exact, because all workers are equal."""
    free = _workers(resources, ((node.cpus_free, node.gpus_free) for node in capacity.nodes))
    if free >= resources.fewest:
        return Feasibility("now", f"{resources} fits now")
    ever = _workers(resources, ((node.cpus, node.gpus) for node in capacity.nodes))
    if ever >= resources.fewest:
        return Feasibility("when idle", f"{resources} fits when other jobs have ended")
    reason = f"{resources} can never fit: the cluster has {capacity}"
    return Feasibility("never", reason, _nearest(resources, capacity))


def slots(nodes: Iterable[Mapping[str, float]]) -> int | None:
    """How many jobs a cluster may run at once, by the custom resource of its nodes, if they have
    it."""
    amounts = [node[SLOT] for node in nodes if SLOT in node]
    return int(sum(amounts)) if amounts else None


def without(capacity: Capacity, promised: Iterable[Resources]) -> Capacity:
    """The cluster with what others need at least taken from it, as if it was idle otherwise."""
    rooms = [(node.cpus, node.gpus) for node in capacity.nodes]
    for resources in promised:
        missing = resources.fewest
        for number, (cpus, gpus) in enumerate(rooms):
            count = min(missing, _on_one(resources, cpus, gpus))
            missing -= count
            rooms[number] = (
                cpus - count * resources.cpus_per_worker,
                gpus - count * resources.gpus_per_worker,
            )
    nodes = zip(capacity.nodes, rooms, strict=True)
    free = tuple(Node(node.cpus, node.gpus, cpus, gpus) for node, (cpus, gpus) in nodes)
    return replace(capacity, nodes=free)


def _workers(resources: Resources, places: Iterable[tuple[float, float]]) -> int:
    """How many of these workers have room, each on one of the places (CPUs, GPUs)."""
    return sum(_on_one(resources, cpus, gpus) for cpus, gpus in places)


def _on_one(resources: Resources, cpus: float, gpus: float) -> int:
    # Free amounts are sums and differences of fractions: 0.7 + 0.3 - 1 is not quite 0.
    slack = 1e-6
    by_cpus = int((cpus + slack) // resources.cpus_per_worker)
    if not resources.gpus_per_worker:
        return by_cpus
    return min(by_cpus, int((gpus + slack) // resources.gpus_per_worker))


def _nearest(resources: Resources, capacity: Capacity) -> Resources | None:
    """Fewer workers of the same kind; if not one fits, what the best node can give a worker."""
    places = [(node.cpus, node.gpus) for node in capacity.nodes]
    if fitting := _workers(resources, places):
        return resources.model_copy(update={"workers": fitting})
    # Ties between nodes go to the one with more GPUs, which are what is scarce.
    rooms = [
        (min(gpus, resources.gpus_per_worker), min(int(cpus), resources.cpus_per_worker))
        for cpus, gpus in places
        if cpus >= 1
    ]
    if not rooms:
        return None
    gpus, cpus = max(rooms)
    smaller = resources.model_copy(update={"cpus_per_worker": cpus, "gpus_per_worker": gpus})
    return smaller.model_copy(update={"workers": min(resources.fewest, _workers(smaller, places))})
