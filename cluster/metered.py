"""A place whose work is metered."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from cluster.meter import Usage, metered
from cluster.places import Mapper
from cluster.resources import Resources
from cluster.tasks import Input, Output, Task, within


class Metered:
    """Gives work to a place, and adds up in `usage` what all of it that came back has used."""

    def __init__(self, place: Mapper) -> None:
        self._place = place
        self.usage = Usage()

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """What the place makes of each input."""
        for result, usage in self._place.map(_measured(task, resources), inputs, resources):
            self.usage += usage
            yield result


def _measured(task: Task[Input, Output], resources: Resources) -> Task[Input, tuple[Output, Usage]]:
    meter = functools.partial(metered, resources.cpus_per_worker, resources.gpus_per_worker)

    @functools.wraps(task)
    def measured(inputs: Iterator[Input]) -> Iterator[tuple[Output, Usage]]:
        for result, read in within(meter, task(inputs)):
            yield result, read.usage

    return measured
