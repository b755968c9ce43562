"""A place whose work is metered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from cluster.meter import Usage, metered
from cluster.places import Input, Mapper, Output
from cluster.resources import Resources


class Metered:
    """Gives work to a place, and adds up in `usage` what all of it that came back has used."""

    def __init__(self, place: Mapper) -> None:
        self._place = place
        self.usage = Usage()

    def map(
        self, function: Callable[[Input], Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        """What the place makes of each input."""
        work = _measured(function, resources)
        for result, usage in self._place.map(work, inputs, resources):
            self.usage += usage
            yield result


def _measured(
    function: Callable[[Input], Output], resources: Resources
) -> Callable[[Input], tuple[Output, Usage]]:
    @functools.wraps(function)
    def call(given: Input) -> tuple[Output, Usage]:
        with metered(resources.cpus_per_worker, resources.gpus_per_worker) as meter:
            result = function(given)
        return result, meter.usage

    return call
