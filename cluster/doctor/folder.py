"""The workspace's folder: whether it can be written to as everything here is written."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from aigc.data.files import put_if_absent, write_text
from aigc.errors import WorkspaceUnwritable
from cluster.doctor.clocks import judge_clock
from cluster.doctor.contract import Finding, Installation, ok, problem, sized, warning

GIBIBYTE = 2**30
NETWORKED = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.gcsfuse",
}
"""File systems on which SQLite's locks hold only with luck."""
ELSEWHERE = "Free some space, or choose another --workspace"
NOT_OURS = "Change its owner or permissions, or choose another --workspace"


def look(installation: Installation) -> Iterator[Finding]:
    """Folder, disk and file system; in a temporary folder that is gone afterwards."""
    workspace = installation.workspace
    existing = nearest(workspace.root)
    yield judge_place(workspace.root, existing)
    if existing == workspace.root and existing.is_dir() and os.access(existing, os.W_OK):
        yield from probe(existing)
    disk = os.statvfs(existing)
    yield judge_disk("disk", disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
    yield judge_inodes(disk.f_favail, disk.f_files)
    is_embedded = workspace.embedded_store is not None or not os.environ.get("AIGC_STORE")
    yield judge_file_system(file_system(existing), is_embedded)
    passing = Path(tempfile.gettempdir())
    if passing.stat().st_dev != existing.stat().st_dev:
        disk = os.statvfs(passing)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        yield judge_disk(f"disk of {passing}", free, size)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def judge_place(root: Path, existing: Path) -> Finding:
    """Whether there is a workspace, or one could be made; `existing` is the nearest to it."""
    if not existing.is_dir():
        return problem("folder", f"{existing} is no folder", "Choose another --workspace")
    if not os.access(existing, os.W_OK | os.X_OK):
        return problem("folder", f"{existing} cannot be written to", NOT_OURS)
    if existing == root:
        return ok("folder", str(root))
    return ok("folder", f"{root} is not there yet; the first command makes it")


def probe(root: Path) -> Iterator[Finding]:
    """Write, rename and lock as this program does, and look at the clock of what was written."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=root) as folder:
            yield from _written(Path(folder) / "file")
            yield _locked(Path(folder) / "lock")
    except WorkspaceUnwritable as error:
        yield problem("writing", error.what, error.next_step)
    except OSError as error:
        advice = ELSEWHERE if error.errno in (errno.ENOSPC, errno.EDQUOT) else NOT_OURS
        yield problem("writing", f"{root}: {error.strerror}", advice)


def _written(path: Path) -> Iterator[Finding]:
    """Replaced whole, put where nothing was and only then; with the time of the file system."""
    began = time.time()
    write_text(path, "once")
    write_text(path, "twice")
    second = path.with_name("second")
    in_order = put_if_absent(second, "first") and not put_if_absent(second, "second")
    if path.read_text() != "twice" or not in_order or second.read_text() != "first":
        advice = "Choose a --workspace on a local disk"
        found = "a file that was replaced or linked is not as it should be"
        yield problem("writing", found, advice)
    else:
        yield ok("writing", "files are written, replaced and linked whole")
    offset = path.stat().st_mtime - (began + time.time()) / 2
    yield judge_clock("clock", offset, "the file system's")


def _locked(path: Path) -> Finding:
    """Whether a lock that one holds keeps another one out."""
    with path.open("a") as first, path.open("a") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            found = f"files cannot be locked: {error.strerror}"
            return problem("locking", found, "Choose a --workspace on a local disk")
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ok("locking", "a lock keeps others out")
    advice = "Choose a --workspace on a local disk: two attempts could run at once here"
    return problem("locking", "a lock that is held is given a second time", advice)


def judge_disk(name: str, free_bytes: int, total_bytes: int) -> Finding:
    """Free space. A dataset of images, or the checkpoints of one training, take gigabytes."""
    found = f"{sized(free_bytes)} of {sized(total_bytes)} are free"
    if free_bytes < GIBIBYTE:
        return problem(name, found, ELSEWHERE)
    # Above 95 % Ray refuses to keep objects on the disk.
    if free_bytes < 10 * GIBIBYTE or free_bytes < 0.05 * total_bytes:
        return warning(name, found, ELSEWHERE)
    return ok(name, found)


def judge_inodes(free: int, total: int) -> Finding:
    """How many more files there can be; a file system without a limit says 0 of 0."""
    if total == 0:
        return ok("files", "as many as there is space for")
    found = f"{free:,} more files can be made"
    if free < 1_000:
        return problem("files", found, "Remove files that are not needed, or choose another disk")
    if free < 100_000:
        return warning("files", found, "Remove files that are not needed, or choose another disk")
    return ok("files", found)


def file_system(path: Path) -> str:
    """The kind of the file system that holds the path, as mount(8) names it; or nothing."""
    mounted = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    above = (str(each) for each in (path, *path.parents))
    return next((mounted[each] for each in above if each in mounted), "")


def judge_file_system(kind: str, is_embedded: bool) -> Finding:
    """Whether databases can lie there; `is_embedded` if one does."""
    if kind in NETWORKED and is_embedded:
        advice = "Name servers in MLFLOW_TRACKING_URI and AIGC_STORE, or choose a local disk"
        return warning("file system", f"{kind}, where SQLite's locks may not hold", advice)
    return ok("file system", kind or "of no kind that is known")
