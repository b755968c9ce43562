"""What to do after a failure of a training: pure functions of what the ranks raised.

error           of the code, the data or the memory: it would come again, so it is never retried
stopped         asked for: the state is saved, and the driver ends
lost            a worker or a node died: retried after a pause, and counted
preempted       the cluster took a node back: retried after a pause, and not counted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import ray.exceptions
import torch
from ray.exceptions import ActorDiedError, RayError

from aigc.errors import FactoryError, Preempted
from cluster.errors import JobFailed, OutOfMemory, WorkerLost

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0

Reasons = Mapping[int, BaseException]
"""What each rank that failed raised."""
Kind = Literal["error", "stopped", "lost", "preempted"]


@dataclass(frozen=True)
class Retry:
    """Go on from the last checkpoint after a pause; `failures` are counted so far."""

    failures: int
    pause_seconds: float


@dataclass(frozen=True)
class GiveUp:
    """End with this error."""

    error: FactoryError


def decide(
    reasons: Reasons, error: BaseException, failures: int, max_failures: int
) -> Retry | GiveUp:
    """What to do when `failures` were counted before this one.

    Ray Train itself would retry any error.
    """
    kind = kind_of(reasons)
    counted = failures + (kind == "lost")
    if kind == "preempted" or (kind == "lost" and counted <= max_failures):
        pause = FIRST_PAUSE_SECONDS * 2.0 ** max(0, counted - 1)
        return Retry(counted, min(pause, LONGEST_PAUSE_SECONDS))
    return GiveUp(reported(reasons, error))


def kind_of(reasons: Reasons) -> Kind:
    """The kind of a failure.

    The peers of a worker that ended or died report a closed connection, sometimes they alone.
    """
    raised = map(_innermost, reasons.values())
    own = [reason for reason in raised if not _is_closed_connection(reason)]
    if any(isinstance(reason, Preempted) for reason in own):
        return "stopped"
    if not reasons or not all(_is_loss(reason) for reason in own):
        return "error"
    if any(isinstance(reason, ActorDiedError) and reason.preempted for reason in own):
        return "preempted"
    return "lost"


def reported(reasons: Reasons, error: BaseException) -> FactoryError:
    """The error to show: a worker's own sentence if it had one, otherwise rank and first line."""
    sentences = [reason for reason in reasons.values() if isinstance(reason, FactoryError)]
    said = _first_line(reasons, error)
    if sentences:
        return sentences[0]
    if any(_is_out_of_memory(_innermost(reason)) for reason in reasons.values()):
        return out_of_memory(said)
    if kind_of(reasons) == "lost":
        return WorkerLost(
            f"workers were lost too often: {said}",
            "Raise resources.max_failures, or submit the same spec again to go on from the "
            "last checkpoint",
        )
    return JobFailed(f"training failed: {said}", "See the run's logs")


def out_of_memory(said: str) -> OutOfMemory:
    """The error of a worker that wanted more memory than there is."""
    return OutOfMemory(
        f"a worker ran out of memory: {said}",
        "Lower training.batch_size, raise training.accumulate, or use more workers",
    )


def _is_out_of_memory(reason: BaseException) -> bool:
    kinds = (MemoryError, torch.OutOfMemoryError, ray.exceptions.OutOfMemoryError, OutOfMemory)
    return isinstance(reason, kinds)


def _is_loss(reason: BaseException) -> bool:
    return isinstance(reason, RayError) and not _is_out_of_memory(reason)


def _is_closed_connection(reason: BaseException) -> bool:
    """What a collective raises where another worker is gone: in gloo's words, or in NCCL's type."""
    transport = "Connection closed by peer", "gloo/transport"
    return isinstance(reason, torch.distributed.DistError) or any(
        words in str(reason) for words in transport
    )


def _innermost(reason: BaseException) -> BaseException:
    """Ray Train wraps what Ray said of a dead worker."""
    return getattr(reason, "health_check_failure", reason)


def _first_line(reasons: Reasons, error: BaseException) -> str:
    for rank, reason in sorted(reasons.items()):
        return f"rank {rank}: {type(reason).__name__}: {(str(reason).splitlines() or [''])[0]}"
    return " ".join(str(error).split())[:200]
