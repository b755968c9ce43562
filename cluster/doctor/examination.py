"""The checks made side by side, each for a limited time; whatever happens to one is a finding."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence

from aigc.errors import FactoryError, first_line
from cluster.doctor.contract import Area, Check, Finding, Installation, problem


def examine(installation: Installation, checks: Sequence[Check]) -> Iterator[Area]:
    """What each check finds, in their order, each as soon as it and those before it are done.

    The first one has ended before the others begin: it imports what they share, and imports that
    go on side by side get in each other's way.
    """
    if not checks:
        return
    first, *others = checks
    yield _awaited(first, _begun(first, installation))
    running = [(check, _begun(check, installation)) for check in others]
    for check, begun in running:
        yield _awaited(check, begun)


Begun = tuple[float, "queue.SimpleQueue[tuple[Finding, ...]]"]
"""When a check has to be done, by the monotonic clock, and where it leaves its findings."""


def _begun(check: Check, installation: Installation) -> Begun:
    found: queue.SimpleQueue[tuple[Finding, ...]] = queue.SimpleQueue()
    # A daemon: one that hangs, as on a disk of the network, must not keep the process.
    threading.Thread(
        target=lambda: found.put(_made(check, installation)),
        name=f"doctor-{check.area}",
        daemon=True,
    ).start()
    return time.monotonic() + check.seconds, found


def _awaited(check: Check, begun: Begun) -> Area:
    until, found = begun
    try:
        return Area(check.area, found.get(timeout=max(0.0, until - time.monotonic())))
    except queue.Empty:
        late = problem(
            check.area,
            f"nothing was found out within {check.seconds:g} s",
            "Something that it looks at hangs: a disk of the network, a name server, a driver",
        )
        return Area(check.area, (late,))


def _made(check: Check, installation: Installation) -> tuple[Finding, ...]:
    """What the check finds until it fails, if it does, and then why."""
    found = list[Finding]()
    try:
        found.extend(check.look(installation))
    except FactoryError as error:
        found.append(problem(check.area, error.what, error.next_step))
    except Exception as error:
        said = f"the check failed: {type(error).__name__}: {first_line(error)[:200]}"
        advice = "See whether another finding explains it; if none does, it is a fault of aigc"
        found.append(problem(check.area, said, advice))
    return tuple(found)
