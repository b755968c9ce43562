"""Datasets of many small row groups, and a bucket behind a proxy that spoils answers."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from moto.server import ThreadedMotoServer
from pyarrow import fs

from aigc.data.adopt import adopt
from aigc.data.catalog import Dataset
from aigc.data.shards import table_of
from aigc.layout import Layout

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
SHARDS, ROW_GROUPS, ROWS = 3, 4, 50

Fault = int | Literal["cut", "hang up", "stall"] | None
"""An HTTP status; half a body; no answer; none for longer than clients wait. None: no fault."""


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """As many records as one shard has."""
    source = torch.Generator().manual_seed(0)
    count = ROW_GROUPS * ROWS
    images = torch.randint(200, (count, *LAYOUT.shape), generator=source).to(torch.uint8)
    return table_of(images, torch.randint(10, (count,), generator=source), LAYOUT)


@pytest.fixture(scope="session", params=["parquet", "arrow"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """600 images in 3 shards of 4 row groups, as Parquet and as Arrow IPC; not to be written
    to."""
    return _made(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The Parquet files among `made`."""
    return _made(tmp_path_factory.mktemp("parquet"), "parquet")


@pytest.fixture(scope="session")
def ipc(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The Arrow IPC files among `made`."""
    return _made(tmp_path_factory.mktemp("arrow"), "arrow")


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Dataset], Dataset]:
    """A dataset's copy, to be damaged."""

    def copy(dataset: Dataset) -> Dataset:
        shutil.copytree(dataset.location.folder, tmp_path / "copy")
        manifest = dataset.manifest.model_copy(update={"location": (tmp_path / "copy").as_uri()})
        return Dataset(dataset.folder, manifest)

    return copy


def _made(folder: Path, kind: str) -> Dataset:
    files = folder / "files"
    files.mkdir()
    source = torch.Generator().manual_seed(0)
    for number in range(SHARDS):
        images = torch.randint(256, (ROW_GROUPS * ROWS, *LAYOUT.shape), generator=source)
        labels = torch.randint(10, (ROW_GROUPS * ROWS,), generator=source)
        table = table_of(images.to(torch.uint8), labels, LAYOUT)
        path = files / f"{number}.{kind}"
        if kind == "parquet":
            pq.write_table(table, path, row_group_size=ROWS, write_page_checksum=True)
        else:
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table, max_chunksize=ROWS)
    return adopt(folder / "datasets", str(files), "made")[0]


class Proxy(ThreadingHTTPServer):
    """A server that answers as another one does, except when `fault` says otherwise.

    `fault` is given a request, as "GET /bucket/path bytes=0-9", and how often it came before.
    """

    daemon_threads = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.seen = upstream, Counter[str]()
        self.fault: Callable[[str, int], Fault] = lambda request, nth: None
        self.released = threading.Event()

    def uri(self, folder: str) -> str:
        """The URI of a folder of the bucket, reached through this proxy."""
        place = f"endpoint_override=127.0.0.1:{self.server_port}&scheme=http&region=us-east-1"
        return f"s3://bucket/{folder}?{place}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def do_GET(self) -> None:
        request = f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip()
        fault = self.server.fault(request, self.server.seen[request])
        self.server.seen[request] += 1
        if fault == "stall":
            self.server.released.wait()
        if fault in ("hang up", "stall"):
            self.close_connection = True
        elif isinstance(fault, int):
            code = "SlowDown" if fault >= 500 else "AccessDenied"
            self._answer(fault, {}, f"<Error><Code>{code}</Code></Error>".encode())
        else:
            self._forward(is_cut=fault == "cut")

    do_HEAD = do_GET

    def _forward(self, is_cut: bool) -> None:
        connection = HTTPConnection(*self.server.upstream)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body, headers = answer.read(), dict(answer.headers)
        connection.close()
        self._answer(answer.status, headers, body, len(body) // 2 if is_cut else len(body))
        self.close_connection = is_cut

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            if name not in ("Connection", "Transfer-Encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        """Quietly."""


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, int]]:
    """Where a server with S3's interface listens; the credentials are in the environment."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def proxy(s3: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy in front of the bucket, without faults."""
    server = Proxy(s3)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def uploaded(s3: tuple[str, int], proxy: Proxy) -> Callable[[Dataset], Dataset]:
    """A dataset with its shards in the bucket, behind the proxy."""

    def upload(dataset: Dataset) -> Dataset:
        bucket = fs.S3FileSystem(
            endpoint_override=":".join(map(str, s3)),
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        folder = dataset.location.folder.parent.name
        bucket.create_dir("bucket")
        for shard in dataset.manifest.shards:
            with bucket.open_output_stream(f"bucket/{folder}/{shard.path}") as file:
                file.write((dataset.location.folder / shard.path).read_bytes())
        location = {"location": proxy.uri(folder)}
        return Dataset(dataset.folder, dataset.manifest.model_copy(update=location))

    return upload
