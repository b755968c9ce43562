"""What work uses, measured around it in the process that does it: processors and GPUs.

A worker returns the usage of its piece of work beside its result, and whoever gave out the pieces
adds them up:

    with metered(cpus=1) as meter:
        ...
    return result, meter.usage

What a worker used that was lost is lost with it: a sum is of the work that came back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, Self

from cluster.gpu import GpuCounter, no_gpu, visible_gpus


@dataclass(frozen=True)
class Usage:
    """What work has used. Plain data: it travels between processes, and adds up.

    `cpu_seconds` is what processors computed, `cpu_held_seconds` for how long they were kept from
    others, each counted; so of GPUs. `gpu_busy_seconds` and `gpu_joules` are None when a GPU was
    held that nobody could ask.
    """

    cpu_seconds: float = 0.0
    cpu_held_seconds: float = 0.0
    gpu_busy_seconds: float | None = 0.0
    gpu_held_seconds: float = 0.0
    gpu_joules: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_seconds + other.cpu_seconds,
            self.cpu_held_seconds + other.cpu_held_seconds,
            _sum(self.gpu_busy_seconds, other.gpu_busy_seconds),
            self.gpu_held_seconds + other.gpu_held_seconds,
            _sum(self.gpu_joules, other.gpu_joules),
        )

    def as_dict(self) -> dict[str, float | None]:
        """Plain data, as it is stored."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """The usage that `as_dict` has made plain."""
        return cls(**plain)


@dataclass(frozen=True)
class _Reading:
    """The clocks of this process; a difference of two is what passed between them."""

    wall: float
    cpu: float
    gpu_busy: float | None
    gpu_joules: float | None

    def __sub__(self, earlier: _Reading) -> _Reading:
        return _Reading(
            self.wall - earlier.wall,
            self.cpu - earlier.cpu,
            _difference(self.gpu_busy, earlier.gpu_busy),
            _difference(self.gpu_joules, earlier.gpu_joules),
        )


class Meter:
    """Reads the clocks of this process from when it is made; see `metered`."""

    def __init__(self, cpus: int | None, gpus: float, counter: GpuCounter) -> None:
        self._cpus, self._gpus, self._counter = cpus, gpus, counter
        self._inside: list[_Reading] = []
        self._started = self._read()
        self._ended: _Reading | None = None

    @property
    def usage(self) -> Usage:
        """What was used so far, or until the block ended, without what inner meters have."""
        own = self._passed()
        for inner in self._inside:
            own -= inner
        share = min(1.0, self._gpus)
        return Usage(
            own.cpu,
            own.cpu if self._cpus is None else own.wall * self._cpus,
            _scaled(own.gpu_busy, share),
            own.wall * self._gpus,
            _scaled(own.gpu_joules, share),
        )

    def end(self, around: Meter | None) -> None:
        """Stop the clocks; `around` is told what passed here."""
        self._ended = self._read()
        self._counter.close()
        if around is not None:
            around._inside.append(self._passed())

    def _passed(self) -> _Reading:
        return (self._ended or self._read()) - self._started

    def _read(self) -> _Reading:
        return _Reading(time.monotonic(), time.process_time(), *self._counter.read())


_INNERMOST: ContextVar[Meter | None] = ContextVar("innermost meter", default=None)


@contextmanager
def metered(cpus: int | None = None, gpus: float = 0.0) -> Iterator[Meter]:
    """Measure what this process uses until the block ends.

    `cpus` and `gpus` are what the work holds, as `cpus_per_worker` and `gpus_per_worker` say. None
    is of a process that no place gave processors to, as the one that waits for workers: it holds
    what it uses. A meter inside another is not counted twice, so that the sum is right on a place
    whose workers are this process, too. Several workers on one GPU count its load by their shares.
    """
    around = _INNERMOST.get()
    meter = Meter(cpus, gpus, visible_gpus(math.ceil(gpus)) if gpus else no_gpu())
    token = _INNERMOST.set(meter)
    try:
        yield meter
    finally:
        _INNERMOST.reset(token)
        meter.end(around)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _scaled(value: float | None, share: float) -> float | None:
    return None if value is None else value * share
