"""Files that are committed once, whoever makes them, and however many do."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aigc.data.files import fsync, unwritable


@contextmanager
def attempt_in(attempts: Path) -> Iterator[Path]:
    """A folder of one attempt's own, which is gone after the block."""
    folder = attempts / secrets.token_hex(8)
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit(finished: Path, committed: Path) -> None:
    """Give a finished file its name, unless another attempt's file has it already.

    Raises WorkspaceUnwritable.
    """
    try:
        committed.parent.mkdir(parents=True, exist_ok=True)
        os.link(finished, committed)
        fsync(committed.parent)
    except FileExistsError:
        return
    except OSError as error:
        raise unwritable(committed, error) from error
