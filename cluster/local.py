"""A Ray on this machine, started for one command and gone with it."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Self

import psutil
import ray

from aigc.errors import first_line
from cluster.errors import WorkerLost
from cluster.on_ray import OnRay, connect
from cluster.places import machine
from cluster.resources import Capacity

_TOKEN = secrets.token_hex(32)
"""One a process: Ray reads it once."""

_ALONE = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_task_events_report_interval_ms": "0",
    # Its search for new files, ten times a second otherwise.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
}
"""No machine is announced to go, and nobody reads the figures and logs of this Ray: what collects
them would take turns with the workers on their cores."""

LEAVING_SECONDS = 5.0
"""For how long what Ray has started may outlive it."""


class LocalRay(OnRay):
    """Ray Train and Ray tasks on this machine."""

    name = "local"
    patience = 0.0
    shared = False

    def __enter__(self) -> Self:
        if ray.is_initialized():
            raise RuntimeError("this process uses a Ray already: ray.shutdown() leaves it")
        os.environ.update(_ALONE)
        # Of an unset mode Ray makes a world-readable token file in the home folder; and the token
        # of another cluster is not for this one.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN
        cpus = int(self.capacity().nodes[0].cpus)
        others = _of_ray()
        try:
            connect(address="local", num_cpus=cpus, include_dashboard=False)
        except BaseException as error:
            _end(_of_ray() - others)
            if not isinstance(error, Exception):
                raise
            # Ray has no other name for a node that does not start.
            raise WorkerLost(
                f"no Ray starts on this machine: {first_line(error)}",
                "See what stands in its way: aigc doctor; or do without it: --on here",
            ) from error
        self._processes = _of_ray() - others
        return self

    def __exit__(self, *exception: object) -> None:
        _end(self._processes)

    def capacity(self) -> Capacity:
        """This machine."""
        return machine()


def _of_ray() -> set[psutil.Process]:
    """What Ray has started from this process: its servers, but not their workers."""
    found = set[psutil.Process]()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any("/ray/" in word for word in child.cmdline()):
                found.add(child)
    return found


def _end(processes: set[psutil.Process]) -> None:
    """Leave Ray, and end those processes and all that still hangs below them: what a worker had
    started that was lost before is not found."""
    started = _with_descendants(processes)
    try:
        ray.shutdown()
        # Workers leave with their raylet, but some wait for ever for a lock in Ray's own exit.
        psutil.wait_procs(started, timeout=LEAVING_SECONDS)
    finally:
        # What had started half has started more since.
        left = started | _with_descendants(processes)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=LEAVING_SECONDS)


def _with_descendants(processes: set[psutil.Process]) -> set[psutil.Process]:
    found = set(processes)
    for process in processes:
        with suppress(psutil.Error):
            found.update(process.children(recursive=True))
    return found
