"""Whether processes can add up their gradients: a sum over a few of them, as a training's start.

Each is a process of its own, so that a driver that hangs or dies takes nobody with it:
python -m cluster.doctor.collective BACKEND RANK RANKS FILE
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from cluster.doctor.contract import Finding, ok, problem

PATIENCE_SECONDS = 30.0


def all_reduce(backend: str, ranks: int) -> str | None:
    """Sum over so many processes by `backend`, nccl or gloo; why it fails, or None."""
    with tempfile.TemporaryDirectory(prefix="aigc-doctor-") as folder:
        command = [sys.executable, "-m", "cluster.doctor.collective", backend]
        words = [[str(rank), str(ranks), str(Path(folder) / "meeting")] for rank in range(ranks)]
        running = [
            subprocess.Popen(
                [*command, *each], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            for each in words
        ]
        return _failure(running)


def judge_sum(backend: str, ranks: int, failure: str | None) -> Finding:
    """What became of the sum."""
    if failure is None:
        return ok("sum", f"{ranks} process(es) added up their figures by {backend}")
    advice = "Set NCCL_DEBUG=INFO and run it again: it says which connection fails"
    return problem("sum", f"{ranks} process(es) could not add up by {backend}: {failure}", advice)


def _failure(running: list[subprocess.Popen[str]]) -> str | None:
    """Why the first one of the processes fails that does; none of them is left."""
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        for each in running:
            _, said = each.communicate(timeout=max(0.0, until - time.monotonic()))
            if each.returncode:
                return said.strip().splitlines()[-1][:200] if said.strip() else "no word of why"
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE_SECONDS:g} s"
    finally:
        for each in running:
            each.kill()
            each.communicate()
    return None


def _take_part(backend: str, rank: int, ranks: int, meeting: str) -> None:
    """Be one of the processes."""
    import torch
    from torch import distributed

    device = torch.device(f"cuda:{rank}" if backend == "nccl" else "cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        backend,
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=PATIENCE_SECONDS),
    )
    try:
        mine = torch.full((1024,), float(rank + 1), device=device)
        distributed.all_reduce(mine)
        if mine.tolist() != [ranks * (ranks + 1) / 2] * 1024:
            raise SystemExit(f"the sum is {mine[0].item():g}")
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    _take_part(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
