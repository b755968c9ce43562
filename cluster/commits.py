"""Files that are committed once, whoever makes them, and however many do."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from aigc.data.files import fsync, unwritable
from aigc.data.shards import write_parquet


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


def is_committed(file: Path, is_whole: Callable[[], bool]) -> bool:
    """Whether a file is there and whole; what a crash has left broken of it is removed.

    Only the very file that was judged is: one that another attempt has committed since stands, also
    where this one was stopped for hours in between.
    """
    try:
        judged = file.stat().st_ino
    except FileNotFoundError:
        return False
    if is_whole():
        return True
    with suppress(FileNotFoundError):
        if file.stat().st_ino == judged:
            file.unlink()
    return False


def commit_table(table: pa.Table, attempts: Path, committed: Path) -> None:
    """Write a table as a shard's file in an attempt of its own, and give it its name once it is on
    the disk, unless another attempt's file has it already. Raises WorkspaceUnwritable."""
    with attempt_in(attempts) as folder:
        write_parquet(table, folder / committed.name)
        fsync(folder / committed.name)
        commit(folder / committed.name, committed)


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
