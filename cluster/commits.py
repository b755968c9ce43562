"""Files that are committed once, whoever makes them, and however many do."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from aigc.data.files import fsync, unwritable
from aigc.data.footers import PARQUET
from aigc.data.manifest import Shard
from aigc.data.shards import shard_of, write_parquet


@contextmanager
def attempt_in(attempts: Path) -> Iterator[Path]:
    """The path of a file of one attempt's own, which is gone after the block."""
    file = attempts / f"{secrets.token_hex(8)}{PARQUET}"
    try:
        attempts.mkdir(parents=True, exist_ok=True)
        yield file
    except OSError as error:
        raise unwritable(file, error) from error
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


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
    """Write a table as a shard's file in an attempt of its own, and give it its name, unless
    another attempt's file has it already. Raises WorkspaceUnwritable.

    It need not be on the disk yet: who goes on after a crash looks whether it is whole.
    """
    with attempt_in(attempts) as finished:
        write_parquet(table, finished)
        commit(finished, committed)


def commit_shard(table: pa.Table, attempts: Path, folder: Path, path: str, split: str) -> Shard:
    """Commit a table as the shard `folder/path`; the manifest's entry of that shard, whoever's it
    is. Raises WorkspaceUnwritable."""
    with attempt_in(attempts) as finished:
        write_parquet(table, finished)
        return commit_as_shard(finished, folder, path, split)


def commit_as_shard(finished: Path, folder: Path, path: str, split: str) -> Shard:
    """Commit a finished file as the shard `folder/path`, once it is on the disk; the manifest's
    entry of that shard, whoever's it is. Raises WorkspaceUnwritable."""
    try:
        # It is hashed while the disk works.
        with ThreadPoolExecutor(1) as beside:
            on_disk = beside.submit(fsync, finished)
            shard = shard_of(finished.parent, finished.name, split)
            on_disk.result()
    except OSError as error:
        raise unwritable(finished, error) from error
    is_first = commit(finished, folder / path)
    return shard.model_copy(update={"path": path}) if is_first else shard_of(folder, path, split)


def commit(finished: Path, committed: Path) -> bool:
    """Give a finished file its name; False if another attempt's file has it already.

    Raises WorkspaceUnwritable.
    """
    try:
        committed.parent.mkdir(parents=True, exist_ok=True)
        os.link(finished, committed)
        fsync(committed.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(committed, error) from error
    return True
