"""Imports on a cluster: Ray Data does the work that has no order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aigc.data.importers.importing import Import, Input, Map, Output
from aigc.errors import FactoryError
from cluster.errors import JobFailed, WorkerLost

HERE_BYTES = 2**29
"""A smaller source is done in this process before a Ray has started and both CPUs are worth it."""

BLOCKS = 1024
"""Ray Data plans each block by itself: of more inputs, several share one."""


def place_of(plan: Import) -> str:
    """Where an import of that size is best done: here, or on a Ray that is started for it."""
    return "here" if plan.bytes < HERE_BYTES else "local"


@contextmanager
def mapping(place: str, scratch: Path) -> Iterator[Map]:
    """What does the work of an import at that place, while the block runs."""
    if place == "here":
        yield map
        return
    # Ray takes seconds to import, and most imports are done without.
    from cluster.local import LocalRay

    with LocalRay(scratch):
        yield ray_data_map


def ray_data_map(function: Callable[[Input], Output], inputs: Sequence[Input]) -> Iterator[Output]:
    """`function` of each input as rows of a Ray dataset, on one CPU each, in any order.

    Raises the FactoryError of the function, JobFailed for any other error of its code, and
    WorkerLost.
    """
    import ray.data
    from ray.exceptions import RayError

    if not inputs:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = ray.data.from_items(
        [{"input": each} for each in inputs], override_num_blocks=min(len(inputs), BLOCKS)
    )
    outputs = rows.map(lambda row: {"output": _outcome(function, row["input"])}, num_cpus=1)
    try:
        for row in outputs.iter_rows():
            if isinstance(row["output"], FactoryError):
                raise row["output"]
            yield row["output"]
    except RayError as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise WorkerLost(f"a worker was lost: {first}", "Run the same import again") from error


def _outcome(function: Callable[[Input], Output], given: Input) -> Output | FactoryError:
    """What the function returns, or its error: as a value, since Ray Data hides it in its own."""
    try:
        return function(given)
    except FactoryError as error:
        return error
    except Exception as error:
        return JobFailed(f"a worker failed: {error!r}", "Run it again with --on here --debug")
