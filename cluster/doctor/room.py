"""What would run where: jobs judged by what this machine has, and by what of it is free now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from cluster.doctor.contract import Finding, Installation, ok, warning
from cluster.resources import Capacity, Node, Resources, feasibility

BUSY_SHARE = 0.1
"""Of a GPU's memory: with more of it in use, somebody works on it."""


def look(installation: Installation) -> Iterator[Finding]:
    """The machine in the middle of what it does, and each known job."""
    from cluster.doctor.gpus import cards
    from cluster.places import machine

    whole = machine().nodes[0]
    used = [card.used_share for card in cards()]
    now = free_now(whole, os.getloadavg()[0], used)
    yield ok("machine", told(now))
    yield from judge_jobs(installation.jobs(), Capacity((now,)))


def free_now(whole: Node, load: float, used: list[float]) -> Node:
    """The machine without the processors that compute, and the GPUs whose memory is in use.

    `load` is how many threads want to compute; `used` has the share of each GPU's memory.
    """
    cpus = max(0.0, whole.cpus - round(load))
    busy = sum(share > BUSY_SHARE for share in used)
    return Node(whole.cpus, whole.gpus, cpus, max(0.0, whole.gpus - busy))


def told(node: Node) -> str:
    """What there is and what is free, in words."""
    gpus = f", {node.gpus_free:g} of {node.gpus:g} GPU" if node.gpus else ", no GPU"
    return f"{node.cpus_free:g} of {node.cpus:g} CPU are idle{gpus}"


def judge_jobs(jobs: Mapping[str, Resources], capacity: Capacity) -> Iterator[Finding]:
    """A finding for all jobs that ask for the same: whether they fit now, when idle, or never."""
    alike: dict[str, list[str]] = {}
    for name, resources in jobs.items():
        alike.setdefault(str(resources), []).append(name)
    for asked, names in alike.items():
        found = feasibility(jobs[names[0]], capacity)
        named = ", ".join(names)
        if found.fits == "never":
            advice = "Submit it to a larger cluster"
            if found.nearest is not None:
                advice = f"The nearest that fits is {found.nearest}; change resources in the spec"
            yield warning(asked, f"never: {named}", advice)
        else:
            yield ok(asked, f"{found.fits}: {named}")
