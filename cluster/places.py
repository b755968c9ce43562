"""Where a job runs: one interface, so that nothing else knows.

here     in this process: tests, debugging, the first picture in seconds
local    a Ray that is started on this machine for this command
cluster  the Ray of the node that this process runs on
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, Self

import torch

from aigc.errors import first_line
from aigc.training.world import World
from cluster.errors import CanNeverFit
from cluster.failures import out_of_memory
from cluster.process import settle
from cluster.resources import Capacity, Feasibility, Node, Resources, feasibility
from cluster.tasks import Input, Output, Task

if TYPE_CHECKING:
    from cluster.search import Search, TrialFunction

Worker = Callable[[World], None]

LOOK_SECONDS = 1.0
"""Between two looks at a place that may still grow."""


class Room(Protocol):
    """Where a job may run, for planning: nothing is started there.

    `patience` is for how many seconds nodes may still be joining it.
    """

    @property
    def name(self) -> str: ...

    @property
    def patience(self) -> float: ...

    def capacity(self) -> Capacity:
        """What the place has, without starting anything."""

    def needs(self, resources: Resources) -> Resources:
        """What of the resources the place really uses."""


class Mapper(Protocol):
    """What has a task done by many workers."""

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """What the task makes of each input, on up to `resources.most` workers, as they get done.

        The order of the results is not that of the inputs. An input whose worker died is given to
        another as often as `resources.max_failures` says; then WorkerLost is raised.
        """


class Place(Room, Mapper, Protocol):
    """A place to run jobs; entered before use, left when done.

    One that is `shared` runs other jobs, too, so that a job waits for its turn.
    """

    shared: bool

    def slot(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold one of the place's job slots, if it counts them.

        `waiting` is called now and then until there is one; what it raises ends the wait.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def train(self, worker: Worker, resources: Resources) -> None:
        """Run `worker` on a group of data-parallel workers until all are done.

        Raises the worker's own FactoryError, JobFailed for any other error of its code, and
        WorkerLost when workers died more often than `resources.max_failures`.
        """

    def search(self, trial: TrialFunction, search: Search, resources: Resources) -> None:
        """Run trials until the search ends, each on one worker, `resources.most` at once.

        One whose worker died is begun again as often as `resources.max_failures` says.
        """


class Here:
    """This process, as the only worker."""

    name = "here"
    patience = 0.0
    shared = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def slot(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """There is nothing to share."""
        return nullcontext()

    def capacity(self) -> Capacity:
        """This machine."""
        return machine()

    def needs(self, resources: Resources) -> Resources:
        """One worker: it takes the whole global batch, and the mathematics is the same."""
        return resources.model_copy(update={"workers": 1})

    def train(self, worker: Worker, resources: Resources) -> None:
        """Run `worker` in this process, with as many threads as a worker has CPUs."""
        settle(resources)
        try:
            worker(World(device=device(resources)))
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise out_of_memory(first_line(error)) from error

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """One after the other."""
        settle(resources)
        return task(iter(inputs))

    def search(self, trial: TrialFunction, search: Search, resources: Resources) -> None:
        """One after the other."""
        # Seconds of imports that only a search needs.
        from ray.tune.search import Searcher

        for name in map(str, itertools.count()):
            values = search.suggest(name)
            if values == Searcher.FINISHED:
                return
            search.end(name, trial(values))


def machine() -> Capacity:
    """This machine, all of it free."""
    cpus, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    return Capacity((Node(cpus, gpus, cpus_free=cpus, gpus_free=gpus),))


def device(resources: Resources) -> torch.device:
    """The device that a worker of these resources uses."""
    return torch.device("cuda" if resources.use_gpu else "cpu")


def require_fit(resources: Resources, room: Room) -> None:
    """Raise CanNeverFit, with the nearest resources that do fit, before anything is started."""
    found = _patiently(resources, room)
    if found.fits == "never":
        nearest = found.nearest
        advice = f"The nearest that fits is {nearest}" if nearest else "Use a larger cluster"
        raise CanNeverFit(found.reason, f"{advice}; change resources in the spec")


def _patiently(resources: Resources, room: Room) -> Feasibility:
    """The feasibility, after waiting for nodes that may still be joining."""
    last = time.monotonic() + room.patience
    while True:
        found = feasibility(room.needs(resources), room.capacity())
        if found.fits != "never" or time.monotonic() >= last:
            return found
        time.sleep(LOOK_SECONDS)
