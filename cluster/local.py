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
        os.environ.update(_ALONE)
        # Of an unset mode Ray makes a world-readable token file in the home folder; and the token
        # of another cluster is not for this one.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN
        cpus = int(self.capacity().nodes[0].cpus)
        others = _raylets()
        try:
            connect(address="local", num_cpus=cpus, include_dashboard=False)
        except Exception as error:  # Ray has no other name for a node that does not start.
            ray.shutdown()
            raise WorkerLost(
                f"no Ray starts on this machine: {first_line(error)}",
                "Submit the same spec again, or without Ray: --on here",
            ) from error
        self._own_raylets = _raylets() - others
        return self

    def __exit__(self, *exception: object) -> None:
        started = _started_by(self._own_raylets)
        ray.shutdown()
        # Workers leave with their raylet, but some wait for ever for a lock in Ray's own exit.
        _, stuck = psutil.wait_procs(started, timeout=LEAVING_SECONDS)
        for process in stuck:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def capacity(self) -> Capacity:
        """This machine."""
        return machine()


def _raylets() -> set[psutil.Process]:
    """Those that this process has started."""
    raylets = set[psutil.Process]()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == "raylet":
                raylets.add(child)
    return raylets


def _started_by(raylets: set[psutil.Process]) -> list[psutil.Process]:
    """Workers, and what these have started."""
    started = list[psutil.Process]()
    for raylet in raylets:
        with suppress(psutil.NoSuchProcess):
            started += raylet.children(recursive=True)
    return started
