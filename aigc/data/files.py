"""Writing whole or not at all, and hashing what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aigc.errors import WorkspaceUnwritable


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and is gone when it does not.

    The content is on disk before the name is (write, fsync, rename, fsync of the folder), so that
    a reader, or a power cut, sees the old file or the new one. Raises WorkspaceUnwritable.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        fsync(partial)
        partial.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` with `text`, whole or not at all."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def put_if_absent(path: Path, text: str) -> bool:
    """Create `path` with `text` in one step; False, and nothing changed, if it is there already.

    A hard link of a finished file fails when the name exists, also between machines on NFS.
    """
    finished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.finished")
    write_text(finished, text)
    try:
        os.link(finished, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        finished.unlink(missing_ok=True)
    fsync(path.parent)
    return True


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises WorkspaceUnwritable."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical form: sorted keys, no spaces."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def unwritable(path: Path, error: OSError) -> WorkspaceUnwritable:
    """The disk's refusal as a sentence."""
    return WorkspaceUnwritable(
        f"cannot write {path}: {error.strerror or error}",
        "Free some space, change its permissions, or choose another --workspace",
    )


def fsync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
