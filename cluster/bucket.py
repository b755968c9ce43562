"""A generated dataset in an S3-compatible store: each object is put once, the manifest last.

TO/NAME/VERSION/shards/*.parquet  report.html  report.json
TO/NAME/VERSION/manifest.json     putting this object publishes the dataset there
TO/.put-if-absent                 a note, by which the store is asked whether it keeps what is there

The driver uploads what was committed, judged and published in the workspace. So workers need no
credentials, what did not pass its gates never leaves the workspace, and an upload that was cut off
goes on with the objects that are missing. Credentials and region are looked for where AWS's own
tools look for them, the endpoint is AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointResolutionError,
    InvalidConfigError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from aigc.data.adopt import in_threads
from aigc.data.catalog import Dataset
from aigc.data.files import sha256_of
from aigc.data.manifest import MANIFEST, Manifest
from aigc.errors import ShardCorrupt, StorageUnavailable
from cluster.errors import BucketDiffers, BucketRefused

PROBE = ".put-if-absent"
PROBE_TEXT = b"Put by aigc, to see that this store keeps an object that is there already.\n"

ATTEMPTS = 5
"""Of a request, the waits between them growing to seconds."""
CONNECT_SECONDS, ANSWER_SECONDS = 10, 60
PASSING = (408, 409, 429)
"""The store's answers below 500 that may be others in a moment; 409: somebody else is at it."""
PIECE = 2**20


class Bucket:
    """A folder of a bucket, s3://BUCKET/FOLDER.

    Raises, as each method, BucketRefused where the store or what leads to it is not as it must be,
    and StorageUnavailable where it does not answer. No error quotes what botocore says, which may
    hold what stands in the environment.
    """

    def __init__(self, to: str) -> None:
        self.uri = to
        self._bucket, _, self._folder = to.removeprefix("s3://").partition("/")
        with _told(to):
            self._client = _client()

    def require_put_if_absent(self) -> None:
        """Raise BucketRefused unless the store refuses to put an object that is there already."""
        digest = hashlib.sha256(PROBE_TEXT).hexdigest()
        for _ in range(2):
            is_new = self._put(PROBE, lambda: io.BytesIO(PROBE_TEXT), digest)
        if is_new:
            raise BucketRefused(
                f"the store of {self.uri} replaces objects in spite of If-None-Match",
                "Name as publish.to a bucket of a store that honours it; nothing was published",
            )

    def publish(
        self, dataset: Dataset, beside: Sequence[str], progress: Callable[[int], None]
    ) -> str:
        """Put a published dataset's shards, the files `beside` them, and then its manifest, each
        unless it is there; the URI of its folder. `progress` hears how many objects are there.

        Raises ShardCorrupt where a file is not what the manifest says, and BucketDiffers where an
        object has another content than ours.
        """
        folder = f"{dataset.manifest.name}/{dataset.manifest.version}"
        if not self._is_published(folder, dataset.manifest):
            known: dict[str, str | None] = dict.fromkeys(beside)
            known |= {shard.path: shard.sha256 for shard in dataset.manifest.shards}
            put = in_threads(
                lambda name: self._commit(dataset.folder, folder, name, known[name]), list(known)
            )
            for done, _ in enumerate(put, start=1):
                progress(done)
            self._commit(dataset.folder, folder, MANIFEST, None)
        return f"{self.uri}/{folder}"

    def _is_published(self, folder: str, manifest: Manifest) -> bool:
        """Whether the very dataset is there. It may have been made in another workspace, at another
        time, of the same bytes."""
        path = f"{folder}/{MANIFEST}"
        try:
            found = Manifest.model_validate_json(b"".join(self._pieces(path)))
        except _Missing:
            return False
        except ValidationError:
            raise self._differs(path) from None
        if found.digest != manifest.digest:
            raise self._differs(path)
        return True

    def _commit(self, source: Path, folder: str, name: str, known: str | None) -> None:
        """Put a file, whose hash may be `known`, unless it is there."""
        path, sha256 = f"{folder}/{name}", _hash(source / name, known)
        if self._put(path, lambda: (source / name).open("rb"), sha256):
            return
        found = hashlib.sha256()
        for piece in self._pieces(path):
            found.update(piece)
        if found.hexdigest() != sha256:
            raise self._differs(path)

    def _put(self, path: str, opened: Callable[[], IO[bytes]], sha256: str) -> bool:
        """Create an object of that content; False, and nothing changed, if it is there already."""

        def put() -> None:
            with opened() as content:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(path),
                    Body=content,
                    IfNoneMatch="*",
                    # Checked by the store before it is there.
                    ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                )

        with _told(f"{self.uri}/{path}"):
            try:
                _insisting(put)
            except ClientError as error:
                if _status(error) != 412:
                    raise
                return False
        return True

    def _pieces(self, path: str) -> Iterator[bytes]:
        """The content of an object. Raises _Missing."""
        with _told(f"{self.uri}/{path}"):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
            except self._client.exceptions.NoSuchKey:
                raise _Missing from None
            yield from found["Body"].iter_chunks(PIECE)

    def _key(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    def _differs(self, path: str) -> BucketDiffers:
        return BucketDiffers(
            f"{self.uri}/{path} is there already, and is not what was to be published",
            "Look whose it is: remove it, or choose another publish.to; it was not changed",
        )


class _Missing(Exception):
    """There is no such object."""


def _hash(file: Path, known: str | None) -> str:
    """The hash of a file as it is now, which must be the one that is `known`."""
    found = sha256_of(file) if file.is_file() else None
    if found is None or known not in (None, found):
        raise ShardCorrupt(
            f"{file} is not what was published",
            "Restore it, or remove the dataset's folder and submit the spec again",
        )
    return found


def _client() -> Any:
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        # The default session would keep credentials that have been changed since.
        return boto3.Session().client("s3", config=config)
    except ValueError:
        raise _no_address() from None


def _no_address() -> BucketRefused:
    return BucketRefused(
        "AWS_ENDPOINT_URL is no address of a store", "Write it as https://HOST:PORT"
    )


def _insisting(put: Callable[[], None]) -> None:
    """botocore tries again by itself, but for what stands in the way of conditional requests."""
    Retrying(
        retry=retry_if_exception(lambda error: _status(error) == 409),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.1, jitter=0.1),
        reraise=True,
    )(put)


def _status(error: BaseException) -> int:
    """The HTTP status of a store's answer; 0 of what is none."""
    if not isinstance(error, ClientError):
        return 0
    status: Any = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """botocore's errors as ours, in words that hold no secret."""
    again = "Submit the spec again, which uploads what is missing"
    look = f"Look at AWS_ENDPOINT_URL, publish.to and the credentials. {again}"
    try:
        yield
    except ClientError as error:
        status, code = _status(error), error.response.get("Error", {}).get("Code", "no reason")
        if (status < 500 and status not in PASSING) or status == 501:
            raise BucketRefused(f"the store refuses {place}: {code}", look) from None
        raise StorageUnavailable(f"the store cannot take {place}: {code}", again) from None
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound, InvalidConfigError):
        raise BucketRefused(f"there are no credentials for {place}", look) from None
    except EndpointResolutionError:
        raise _no_address() from None
    except BotoCoreError as error:
        raise StorageUnavailable(
            f"cannot reach the store of {place}: {type(error).__name__}", look
        ) from None
