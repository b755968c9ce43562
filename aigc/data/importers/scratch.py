"""Where an import keeps what is not published yet."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from aigc.data.files import unwritable

SCRATCH = ".importing-"
"""How the folder of an unfinished import begins; it lies beside the versions of the dataset."""


@contextlib.contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder for what is on its way, held while the block runs, and gone after it.

    One that a killed process has left is held by nobody, and removed first. Raises
    WorkspaceUnwritable.
    """
    folder = beside / f"{SCRATCH}{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for other in beside.glob(f"{SCRATCH}*"):
                _remove_if_left(other)
            yield folder
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            # Only if nothing was published under this name.
            beside.rmdir()


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / ".lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
