"""Saves the checkpoint of step 30 again and again, killed at each call of the disk in turn.

argv: a folder that holds former checkpoints, and one for a copy of it a crash, named by the call.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aigc.layout import Layout
from aigc.models import build
from aigc.models.vae import VAEConfig
from aigc.training.checkpoint import CheckpointWriter
from aigc.training.state import TrainingState

CUT_OFF = 9
LAYOUT = Layout(modality="image", shape=(1, 8, 8))


def state_at(step: int) -> TrainingState:
    """A state whose weights all say which step it is of."""
    state = TrainingState(build(VAEConfig(width=8, latent_size=2, mixture=1), LAYOUT, seed=0))
    for parameter in state.model.parameters():
        parameter.data.fill_(step)
    state.step = step
    return state


class Crash:
    """Ends the process before the n-th call that changes the disk."""

    def __init__(self, call: int) -> None:
        self._left = call
        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self._before(getattr(os, name)))
        sys.addaudithook(self._at_open)

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._count(arguments[0])
            return function(*arguments, **named)

        return counted

    def _at_open(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, Path)):
            self._count(arguments[0])

    def _count(self, target: object) -> None:
        self._left -= 1
        if self._left == 0:
            # What was not synced yet may be on the disk in part.
            if isinstance(target, int) and stat.S_ISREG(os.fstat(target).st_mode):
                os.truncate(f"/proc/self/fd/{target}", os.fstat(target).st_size // 2)
            os._exit(CUT_OFF)


def save_until(call: int, folder: Path, state: TrainingState) -> int:
    """The exit code of a process that saves in `folder`, and ends before that call."""
    child = os.fork()
    if child == 0:
        writer = CheckpointWriter(folder)
        Crash(call)
        writer.save(state, {"sums": {}, "journal": 0})
        writer.close()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(former: Path, crashed: Path) -> None:
    """Until a call that is never reached."""
    state = state_at(30)
    for call in range(1, 1000):
        folder = crashed / f"{call:03d}"
        shutil.copytree(former, folder)
        if save_until(call, folder, state) != CUT_OFF:
            return


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
