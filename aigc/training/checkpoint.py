"""Checkpoints of a run: the newest that verifies is the one to go on from.

checkpoints/step-00000500/    written under another name, then renamed

A step only takes a snapshot; a thread brings it to the disk while the training goes on.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from aigc.data.files import fsync, unwritable
from aigc.errors import ArtifactCorrupt
from aigc.training.state import TrainingState
from aigc.training.tensors import read_tensors, require_whole, write_tensors

KEEP = 2
"""The newest checkpoint that verifies, and the one before it in case the newest gets damaged."""

Plain = dict[str, Any]
"""The numbers of a checkpoint: the state's own, and what was noted beside it."""

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes checkpoints in the background, one after the other. One process at a time has it."""

    def __init__(self, folder: Path) -> None:
        """Also removes what writers that were killed have left."""
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "checkpoint-writer")
        self._pending: Future[None] | None = None
        for partial in folder.glob(".step-*.partial"):
            shutil.rmtree(partial, ignore_errors=True)

    def save(self, state: TrainingState, notes: Mapping[str, Any]) -> None:
        """Write `state` as it is now, and numbers beside it. Waits for the checkpoint before.

        Raises WorkspaceUnwritable if that one could not be written.
        """
        self.wait()
        tensors = {name: tensor.cpu() for name, tensor in state.tensors().items()}
        plain = {**state.plain(), **notes}
        self._pending = self._thread.submit(_save, self._folder, tensors, plain)

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. Raises WorkspaceUnwritable if it is not."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread. Raises WorkspaceUnwritable."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def save_checkpoint(folder: Path, state: TrainingState, **notes: Any) -> None:
    """Add a checkpoint of `state` now, then drop the old ones. Raises WorkspaceUnwritable."""
    _save(folder, state.tensors(), {**state.plain(), **notes})


def restore_newest(folder: Path, state: TrainingState) -> Plain | None:
    """Restore `state` from the newest checkpoint that verifies; None if there is none at all.

    A damaged one is passed over with a warning. Raises ArtifactCorrupt when all are damaged:
    a run never silently begins again at step 0.
    """
    damaged: ArtifactCorrupt | None = None
    for checkpoint in _newest_first(folder):
        try:
            return _restore(checkpoint, state)
        except ArtifactCorrupt as error:
            log.warning("passed over a damaged checkpoint: %s", error)
            damaged = error
    if damaged is not None:
        raise damaged
    return None


def restore_step(folder: Path, state: TrainingState, step: int) -> Plain:
    """Restore `state` from the checkpoint of that step. Raises ArtifactCorrupt."""
    return _restore(_named(folder, step), state)


def _restore(checkpoint: Path, state: TrainingState) -> Plain:
    tensors, plain, _ = read_tensors(checkpoint)
    state.restore(tensors, plain)
    return plain


def _save(folder: Path, tensors: Mapping[str, Tensor], plain: Plain) -> None:
    target = _named(folder, plain["step"])
    # A name that no other attempt has: two of them never write into one folder.
    partial = folder / f".{target.name}.{secrets.token_hex(4)}.partial"
    if not _is_whole(target):
        try:
            write_tensors(partial, tensors, plain)
            _put(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _drop_old(folder)


def _put(partial: Path, target: Path) -> None:
    try:
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        fsync(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error


def _drop_old(folder: Path) -> None:
    """Only what is older than enough checkpoints whose bytes, read back, are as they should be."""
    whole = 0
    for checkpoint in _newest_first(folder):
        if whole == KEEP:
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole += _is_whole(checkpoint)


def _is_whole(checkpoint: Path) -> bool:
    try:
        require_whole(checkpoint)
    except ArtifactCorrupt:
        return False
    return True


def _named(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)
