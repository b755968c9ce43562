"""Where shards lie: a folder of this machine, or a URI of any of PyArrow's filesystems."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from aigc.errors import StorageUnavailable, first_line

ATTEMPTS = 8
FIRST_WAIT_S = 0.2
"""Of a remote read; each wait is about twice the one before, half a minute in all."""

CREDENTIALS = re.compile("//[^/@]*:.*@")
"""USER:PASSWORD@ in a URI."""

PLACE = (
    *("region", "endpoint_override", "scheme", "project_id", "retry_limit_seconds"),
    *("tls_ca_file_path", "tls_ca_dir_path", "tls_verify_certificates", "enable_tls"),
    *("blob_storage_authority", "dfs_storage_authority", "credential_kind", "client_id"),
)
"""What the query of a URI may say of S3, Google's or Azure's storage and be shown to everyone."""

LASTING = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|SIGNATURE_DOES_NOT_MATCH"
    "|NO_SUCH_BUCKET|HTTP status 40[0-7]"
)
"""S3's answers that are the same however often one asks."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Location:
    """A folder, by its URI. Plain data: it travels between processes, connections do not."""

    uri: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.uri.lower().startswith("file:")

    @property
    def folder(self) -> Path:
        """The folder of this machine."""
        return Path(unquote(urlsplit(self.uri).path))

    def open(self, path: str) -> pa.NativeFile:
        """The file `path` of this folder, for reading at random.

        Not memory-mapped: a file that is truncated under a memory map kills the process. Raises
        FileNotFoundError, OSError, and StorageUnavailable when a remote one stays out of reach.
        """
        filesystem, folder = _connected(self.uri)
        full = f"{folder}/{path}"
        if self.is_local:
            return filesystem.open_input_file(full)
        return pa.PythonFile(_RemoteFile(filesystem, full, f"{self}/{path}"), mode="r")

    @property
    def may_hold_secrets(self) -> bool:
        """Whether the URI says more than where the folder is."""
        query = parse_qsl(self.uri.partition("?")[2], keep_blank_values=True)
        is_more = any(key not in PLACE for key, _ in query)
        return is_more or CREDENTIALS.search(self.uri) is not None

    def files(self) -> list[str]:
        """The paths of all files of this folder, sorted. Links to folders are not followed: they
        may lead back. Raises FileNotFoundError, StorageUnavailable."""
        if self.is_local:
            return sorted(_insisting(lambda: _files_in(self.folder), str(self)))
        filesystem, folder = _connected(self.uri)
        selector = fs.FileSelector(folder, recursive=True)
        found = _insisting(lambda: filesystem.get_file_info(selector), str(self))
        start = len(folder) + 1
        return sorted(info.path[start:] for info in found if info.type == fs.FileType.File)

    def __str__(self) -> str:
        """Without credentials, even where a slash in them was not escaped."""
        shown = self.folder if self.is_local else CREDENTIALS.sub("//", self.uri.partition("?")[0])
        return str(shown).rstrip("/")


def _files_in(folder: Path) -> list[str]:
    """The relative paths of the files of a folder of this machine, however deep."""

    def refuse(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=refuse)
    paths = [os.path.join(parent, name) for parent, _, names in walked for name in names]
    return [os.path.relpath(path, folder) for path in paths if os.path.isfile(path)]


class _RemoteFile(io.RawIOBase):
    """A remote file whose reads are tried again. Closed connections are opened anew."""

    def __init__(self, filesystem: fs.FileSystem, path: str, name: str) -> None:
        super().__init__()
        self._name, self._position = name, 0
        self._file = _insisting(lambda: filesystem.open_input_file(path), name)
        self._size = self._file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size - self._position if size is None or size < 0 else size
        start = self._position
        content: bytes = _insisting(lambda: self._file.read_at(wanted, start), self._name)
        self._position += len(content)
        return content


def _insisting(attempt: Callable[[], Result], name: str) -> Result:
    """What `attempt` returns, tried again with growing waits while the storage says no."""
    try:
        return Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=FIRST_WAIT_S, jitter=FIRST_WAIT_S),
            reraise=True,
        )(attempt)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailable(
            f"cannot read {name}: {first_line(error)}",
            "Check the endpoint, the credentials in the environment and the network",
        ) from error


def _may_pass(error: BaseException) -> bool:
    """Throttling, timeouts and broken connections pass; a missing file or a lacking right stays."""
    stays = isinstance(error, FileNotFoundError | PermissionError) or LASTING.search(str(error))
    return isinstance(error, OSError) and not stays


@functools.lru_cache(maxsize=64)
def _connected(uri: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a URI and the path in it; one connection pool for a URI and process."""
    # Google's client tries again by itself, for a quarter of an hour and deaf to Ctrl-C.
    is_google = uri.startswith(("gs:", "gcs:")) and "retry_limit_seconds" not in uri
    hurried = f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds=1" if is_google else uri
    try:
        filesystem, path = fs.FileSystem.from_uri(hurried)
    except (OSError, pa.ArrowException) as error:
        raise StorageUnavailable(
            f"cannot use {Location(uri)}: {first_line(error).replace(uri, str(Location(uri)))}",
            "Give a folder, or a URI as s3://bucket/folder, gs://… or abfss://…",
        ) from None
    if isinstance(filesystem, fs.S3FileSystem):
        # No URI can say how often to try again. Left alone, each of our attempts would be thirty,
        # and where nothing answers a quarter of an hour would pass before the error.
        _, (options,) = filesystem.__reduce__()
        once = fs.AwsStandardS3RetryStrategy(max_attempts=1)
        filesystem = fs.S3FileSystem(**{**options, "retry_strategy": once})
    return filesystem, path.rstrip("/")
