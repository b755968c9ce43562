"""Files of a source: found in one order on every machine, and opened only when they are files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from aigc.data.cleaning import Rejected
from aigc.data.importers.contract import PART_BYTES, PART_FILES, Part
from aigc.errors import ImportRefused, first_line

LARGEST_FILE = 256 * 2**20
"""Of files that are read whole: no picture is larger."""


def existing(path: Path | None, what: str) -> Path:
    """The path, absolute. Raises ImportRefused when it is not there, or none was given."""
    if path is None:
        raise ImportRefused(f"no PATH was given, and {what} is to be imported", "Give its path")
    try:
        return path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ImportRefused(
            f"cannot read {printable(str(path))}: {first_line(error)}",
            f"Give the path of {what}; what a URI names is adopted: aigc data adopt",
        ) from error


def folder_and_files(path: Path) -> tuple[Path, list[str]]:
    """A folder and the paths of all its files in it; for a file, its folder and its name."""
    return (path.parent, [path.name]) if path.is_file() else (path, all_files(path))


def all_files(folder: Path) -> list[str]:
    """The relative paths of everything in `folder` that is no folder, however deep, sorted.

    Links to folders are among them and not followed; what begins with a dot is not looked at.
    Raises ImportRefused.
    """

    def refuse(error: OSError) -> None:
        raise ImportRefused(
            f"cannot list {printable(str(error.filename))}: {error.strerror}",
            "Change its permissions, or leave the folder out",
        ) from error

    found = list[str]()
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names = links + [name for name in files if not is_hidden(name)]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names]
    # By the bytes of the names: what cannot be decoded has no other order.
    return sorted(found, key=os.fsencode)


def is_hidden(name: str) -> bool:
    """Whether it is not meant to be looked at, as what editors and file managers leave behind."""
    return name.startswith(".")


def printable(path: str) -> str:
    """A path as it can be stored and shown: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def size_of(path: Path) -> int:
    """The bytes of a file; 0 when it cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def regular(path: Path) -> Path:
    """The path of a regular file, before it is opened: a pipe would be waited for without end.

    Raises Rejected for anything else.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", _reason(error)) from error
    if stat.S_ISDIR(mode):
        raise Rejected("unreadable", "a link to a folder is not followed")
    if not stat.S_ISREG(mode):
        raise Rejected("unreadable", "it is no regular file")
    return path


def whole_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises Rejected."""
    if size_of(regular(path)) > LARGEST_FILE:
        raise Rejected("unreadable", f"larger than {LARGEST_FILE >> 20} MiB")
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", _reason(error)) from error


def neighbour(folder: Path, path: str) -> bytes:
    """A file that a table in `folder` names. Raises Rejected, also when it lies elsewhere."""
    try:
        target = (folder / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise Rejected("unreadable", _reason(error)) from error
    if not target.is_relative_to(folder.resolve()):
        raise Rejected("unreadable", "the path leaves the folder of the table")
    return whole_file(target)


def grouped(root: Path, files: Iterable[str]) -> Iterator[Part]:
    """Neighbouring files as parts of up to `PART_FILES` files and about `PART_BYTES` bytes."""
    group, total = list[str](), 0
    for file in files:
        size = size_of(root / file)
        if group and (len(group) == PART_FILES or total + size > PART_BYTES):
            yield Part(tuple(group), bytes=total)
            group, total = [], 0
        group.append(file)
        total += size
    if group:
        yield Part(tuple(group), bytes=total)


def ranges(file: str, units: int, bytes_each: int, part_bytes: int = PART_BYTES) -> Iterator[Part]:
    """One file as parts of up to `part_bytes` bytes: ranges of its records or bytes."""
    step = max(1, part_bytes // bytes_each)
    for start in range(0, max(units, 1), step):
        stop = min(start + step, units)
        yield Part((file,), start, stop, (stop - start) * bytes_each)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
