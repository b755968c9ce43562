"""GPUs: what the driver sees, what torch sees, and whether they can speak to one another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.doctor.contract import Finding, Installation, ok, problem, warning
from cluster.environment import answer

QUERY = "name,memory.total,memory.used,driver_version"


@dataclass(frozen=True)
class Card:
    """A GPU as its driver tells of it; `used_share` is that of its memory."""

    name: str
    used_share: float
    driver: str


@dataclass(frozen=True)
class Torch:
    """What torch says: the CUDA that it was built for, if any, how many GPUs it sees, its NCCL."""

    cuda: str | None
    count: int
    nccl: str | None


def look(installation: Installation) -> Iterator[Finding]:
    """The cards, torch, and a sum over two of them, or over the only one."""
    there, ours = cards(), as_torch_sees()
    yield judge_cards(there, ours, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if ours.count:
        yield judge_nccl(ours)
        from cluster.doctor.collective import all_reduce, judge_sum

        ranks = min(2, ours.count)
        yield judge_sum("nccl", ranks, all_reduce("nccl", ranks))


def cards() -> list[Card]:
    """The GPUs of NVIDIA's that are in the machine."""
    said = answer("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits") or ""
    return [card_of(line) for line in said.splitlines()]


def card_of(line: str) -> Card:
    """A line of nvidia-smi. One that shares the machine's memory says [N/A] of its own."""
    name, total, used, driver = line.split(", ")
    known = total.isdecimal() and used.isdecimal()
    return Card(name, int(used) / int(total) if known else 0.0, driver)


def as_torch_sees() -> Torch:
    """Asked of torch, which starts no CUDA for it."""
    import torch
    from torch import distributed

    count = torch.cuda.device_count()
    has_nccl = distributed.is_available() and distributed.is_nccl_available()
    version = torch.cuda.nccl.version() if has_nccl else None  # type: ignore[no-untyped-call]
    return Torch(torch.version.cuda, count, ".".join(map(str, version)) if version else None)


def judge_cards(there: Sequence[Card], ours: Torch, visible: str | None) -> Finding:
    """Whether torch can use all that is there; `visible` is CUDA_VISIBLE_DEVICES."""
    if not there and not ours.count:
        return ok("cards", "no GPU here: jobs run on the processors, and need no NCCL")
    if not there:
        found = f"torch sees {ours.count}, and nvidia-smi does not answer"
        return warning("cards", found, "Install nvidia-smi, or restart the driver")
    found = f"{len(there)} × {there[0].name}, driver {there[0].driver}"
    if ours.cuda is None:
        advice = "Install a torch that is built for CUDA, or ask for no gpus_per_worker"
        return warning("cards", f"{found}; this torch is built for processors", advice)
    found += f"; torch for CUDA {ours.cuda} sees {ours.count}"
    if ours.count >= len(there):
        return ok("cards", found)
    if visible is not None:
        return ok("cards", f"{found}, as CUDA_VISIBLE_DEVICES={visible} says")
    advice = (
        "Install a driver that is new enough for this CUDA: see nvidia-smi, then torch.cuda.init()"
    )
    return problem("cards", found, advice)


def judge_nccl(ours: Torch) -> Finding:
    """Whether GPUs can be trained on side by side."""
    if ours.nccl is None:
        advice = "Install a torch with NCCL, or ask for one worker"
        return problem("nccl", "this torch has no NCCL", advice)
    return ok("nccl", f"NCCL {ours.nccl}")
