"""Checkpoints of a run: the newest that verifies is the one to go on from.

checkpoints/step-00000500/    written under another name, then renamed
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from aigc.data.files import fsync, unwritable
from aigc.errors import ArtifactCorrupt
from aigc.training.state import TrainingState
from aigc.training.tensors import read_tensors, write_tensors

KEEP = 2
"""The newest checkpoint, and the one before it in case the newest is damaged."""

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Add a checkpoint of `state`, then drop the old ones. Raises WorkspaceUnwritable."""
    target = folder / f"step-{state.step:08d}"
    partial = folder / f".{target.name}.partial"
    write_tensors(partial, state.tensors(), state.plain())
    try:
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        fsync(folder)
    except OSError as error:
        raise unwritable(target, error) from error
    for old in list(_newest_first(folder))[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def restore_newest(folder: Path, state: TrainingState) -> bool:
    """Restore `state` from the newest checkpoint that verifies; False if there is none at all.

    A damaged one is passed over with a warning. Raises ArtifactCorrupt when all are damaged:
    a run never silently begins again at step 0.
    """
    damaged: ArtifactCorrupt | None = None
    for checkpoint in _newest_first(folder):
        try:
            tensors, plain, _ = read_tensors(checkpoint)
        except ArtifactCorrupt as error:
            log.warning("passed over a damaged checkpoint: %s", error)
            damaged = error
            continue
        state.restore(tensors, plain)
        return True
    if damaged is not None:
        raise damaged
    return False


def _newest_first(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("step-*"), reverse=True))
