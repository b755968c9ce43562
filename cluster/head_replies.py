"""What the replies of a head say, and why there is none, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import BadStatusLine
from typing import Any

import requests

from aigc.errors import first_line
from cluster.errors import HeadRefused
from cluster.resources import Node


@dataclass(frozen=True)
class Disk:
    """A disk of the node of that name, in bytes."""

    node: str
    free_bytes: int
    total_bytes: int


def usage_by_node(status: Mapping[str, Any]) -> dict[str, Any]:
    """What is used on each node, of all that a head says; empty where it does not."""
    try:
        found = status["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
    except (KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def node(total: Mapping[str, float], usage: Mapping[str, Any] | None) -> Node:
    """A node by what it has, and what of it is used."""
    cpus, gpus = (float(total.get(name, 0)) for name in ("CPU", "GPU"))
    used = [float((usage or {}).get(name, [0.0])[0]) for name in ("CPU", "GPU")]
    return Node(cpus, gpus, cpus_free=cpus - used[0], gpus_free=gpus - used[1])


def disks_of(summary: Mapping[str, Any]) -> list[Disk]:
    """The disks of the nodes that have reported; none where nothing can be read of that."""
    try:
        return [
            Disk(str(each["hostname"]), int(disk["free"]), int(disk["total"]))
            for each in summary["data"]["summary"]
            for disk in each.get("disk", {}).values()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def last_line(text: str) -> str:
    """The last line that says something: a head answers with tracebacks."""
    lines = [line for line in text.splitlines() if line.strip(" .")]
    return lines[-1] if lines else "it gives no reason"


def reason_of(error: Exception) -> str:
    """Why there is no answer, without the layers of the libraries around it."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner: BaseException = error
    while inner.__context__ is not None:
        inner = inner.__context__
    if type(inner) is BadStatusLine:
        # As from 6379, where nodes join: what it quotes cannot be read.
        return "what answers does not speak HTTP"
    return first_line(inner)[:200]


def untrusted(address: str, error: Exception) -> HeadRefused:
    """Why TLS was not to be had: who answers does not speak it, or cannot be believed."""
    reason = reason_of(error)
    if "CERTIFICATE" in reason:
        return HeadRefused(
            f"{address} cannot show that it is who it says: {reason}",
            "Set REQUESTS_CA_BUNDLE to the authority that has signed its certificate",
        )
    return HeadRefused(
        f"what answers at {address} does not speak TLS: {reason}",
        "Check the port; a head without TLS is reached by http://, on this machine, or with "
        "--insecure-cluster",
    )
