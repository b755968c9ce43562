"""Mutated files, read in a child process with little memory: none may end it.

As a script: `test_hostile_files.py FOLDER COUNT STEP` mutates a file of each kind COUNT times,
reads it, and prints what became of it as JSON. A line on stderr says which one is being read.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import resource
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc.data.adopt import adopt
from aigc.data.catalog import Dataset
from aigc.data.cleaning import Rejected
from aigc.data.description import Description
from aigc.data.footers import read_footer
from aigc.data.importers import Options, plan_import
from aigc.data.importers.conversion import Conversion
from aigc.data.reader import OpenShards
from aigc.errors import FactoryError
from aigc.layout import Layout

MEMORY_BYTES = 4 * 2**30
ROWS, SIDE = 90, 6
STREAM_HEAD = 1000
"""The bytes of a stream's schema and first batch that are looked at one by one."""

Write = Callable[[Path], None]
Mutation = Callable[[bytearray, random.Random, int, int], None]


def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, SIDE * SIDE), dtype=np.uint8)


def _label() -> pa.Array:
    return pa.array(np.arange(ROWS) % 7, pa.int32())


def _raw(path: Path, **options: object) -> None:
    image = pa.array([row.tobytes() for row in _images()], pa.binary(SIDE * SIDE))
    table = pa.table({"image": image, "label": _label()})
    pq.write_table(table, path, row_group_size=30, **options)


def _checked(path: Path) -> None:
    _raw(path, compression="lz4", use_dictionary=False, write_page_checksum=True)


def _dictionaries(path: Path) -> None:
    _raw(path, compression="snappy", data_page_version="2.0", data_page_size=200)


def _lists(path: Path) -> None:
    images = pa.FixedSizeListArray.from_arrays(pa.array(_images().ravel()), SIDE * SIDE)
    table = pa.table({"image": images, "label": _label()})
    pq.write_table(table, path, row_group_size=30, compression="zstd")


def _files(path: Path) -> None:
    image, names = [], [f"{number}.png" for number in range(ROWS)]
    for row in _images():
        file = io.BytesIO()
        Image.fromarray(row.reshape(SIDE, SIDE)).save(file, "PNG")
        image.append(file.getvalue())
    images = pa.StructArray.from_arrays([pa.array(image), pa.array(names)], ["bytes", "path"])
    table = pa.table({"image": images, "label": _label()})
    pq.write_table(table, path, row_group_size=30, compression="gzip")


def _ipc(path: Path, compression: str | None = None) -> None:
    image = pa.array([row.tobytes() for row in _images()], pa.binary())
    table = pa.table({"image": image.cast(pa.binary(SIDE * SIDE)), "label": _label()})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(path, table.schema, options=options) as file:
        file.write_table(table, max_chunksize=30)


def _ipc_files(path: Path) -> None:
    _files(path.with_suffix(".parquet"))
    table = pq.read_table(path.with_suffix(".parquet"))
    path.with_suffix(".parquet").unlink()
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=30)


def _stream(path: Path) -> None:
    """A Hugging Face dataset on disk, of which the stream is what is mutated."""
    _files(path.with_suffix(".parquet"))
    table = pq.read_table(path.with_suffix(".parquet"))
    path.with_suffix(".parquet").unlink()
    with pa.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=30)
    features = {"image": {"_type": "Image"}, "label": {"_type": "Value"}}
    path.with_name("dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": path.name}]}
    path.with_name("state.json").write_text(json.dumps(state))


KINDS: dict[str, Write] = {
    "checked.parquet": _checked,
    "dictionaries.parquet": _dictionaries,
    "lists.parquet": _lists,
    "files.parquet": _files,
    "raw.arrow": _ipc,
    "lz4.arrow": lambda path: _ipc(path, "lz4"),
    "files.arrow": _ipc_files,
    "saved.stream": _stream,
}
"""Files of one column of images and one of labels, by their names."""


def _flip(content: bytearray, source: random.Random, low: int, high: int) -> None:
    for _ in range(source.choice((1, 1, 1, 2, 8))):
        content[source.randrange(low, high)] ^= 1 << source.randrange(8)


def _replace(content: bytearray, source: random.Random, low: int, high: int) -> None:
    content[source.randrange(low, high)] = source.choice((0, 1, 0x7F, 0x80, 0xFF))


def _truncate(content: bytearray, source: random.Random, low: int, high: int) -> None:
    del content[source.randrange(low, high) :]


def _cut_out(content: bytearray, source: random.Random, low: int, high: int) -> None:
    first = source.randrange(low, high)
    del content[first : first + source.choice((1, 4, 100))]


def _splice(content: bytearray, source: random.Random, low: int, high: int) -> None:
    size = source.choice((2, 8, 64, 500))
    here, there = source.randrange(low, high), source.randrange(len(content))
    piece = content[there : there + size]
    content[here : here + len(piece)] = piece


def _swap(content: bytearray, source: random.Random, low: int, high: int) -> None:
    size = source.choice((16, 100, 700))
    here, there = sorted(source.randrange(low, max(low + 1, high - size)) for _ in range(2))
    if here + size <= there:
        swapped = content[there : there + size], content[here : here + size]
        content[here : here + size], content[there : there + size] = swapped


def _zero(content: bytearray, source: random.Random, low: int, high: int) -> None:
    here, size = source.randrange(low, high), source.choice((1, 4, 32, 400))
    end = min(here + size, len(content))
    content[here:end] = bytes(end - here)


def _number(content: bytearray, source: random.Random, low: int, high: int) -> None:
    width = source.choice((4, 8))
    value = source.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**30, 10**6, 2**24))
    here = source.randrange(low, max(low + 1, high - width))
    content[here : here + width] = value.to_bytes(width, "little", signed=True)


def _varint(content: bytearray, source: random.Random, low: int, high: int) -> None:
    here, size = source.randrange(low, high), source.choice((1, 2, 3, 4, 8))
    content[here : here + source.choice((1, size + 1))] = b"\xff" * size + b"\x7e"


MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _replace,
    _truncate,
    _cut_out,
    _splice,
    _swap,
    _zero,
    _number,
    _varint,
)


def mutated(original: bytes, kind: str, number: int) -> bytes:
    """The file with one to three mutations, half of them in its footer; most of those that change
    its length keep an ending that says so. A negative number is the place of one changed byte."""
    source, content = random.Random(f"{kind} {number}"), bytearray(original)
    if number < 0:
        content[number] ^= 1 << source.randrange(8)
        return bytes(content)
    closing = 8 if kind.endswith("parquet") else 10
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        footer = int.from_bytes(content[-closing:][:4], "little") + closing
        low = len(content) - footer if source.random() < 0.5 else 0
        before = len(content)
        source.choice(MUTATIONS)(content, source, max(low, 0), len(content))
        grown = len(content) - before
        if grown and source.random() < 0.8:
            length = max(0, footer + grown - closing).to_bytes(4, "little")
            content[-closing:] = length + original[4 - closing :]
        if len(content) < 20:
            break
    return bytes(content)


def _content(dataset: Dataset) -> str:
    """The hash of all records; every one of them has been looked at."""
    digest = hashlib.sha256()
    shards = OpenShards(dataset.location, dataset.manifest, 1)
    try:
        for shard in dataset.manifest.shards:
            for group in shard.readable:
                for records in shards.row_group(shard, group).records():
                    digest.update(records.stored.numpy().tobytes())
                    if records.labels is not None:
                        digest.update(records.labels.numpy().tobytes())
    finally:
        shards.close()
    return digest.hexdigest()


def _adopted(root: Path) -> Dataset:
    description = Description(shape=(1, SIDE, SIDE), classes=tuple("0123456"))
    return adopt(root / "datasets", str(root / "files"), "hostile", description)[0]


def _imported(root: Path, kind: str) -> str:
    """The hash of all records that an import would store; nothing is written."""
    shape = (1, SIDE, SIDE)
    importer = "parquet" if kind.endswith(".parquet") else "huggingface"
    options = Options(shape=shape, column="image", label="label")
    plan = plan_import(importer, "hostile", root / "files", options)
    convert = Conversion(plan.importer, Layout(modality="image", shape=shape), False, root)
    digest = hashlib.sha256()
    for found in (found for part in plan.parts for found in convert.found(part)):
        if isinstance(found.stored, Rejected):
            assert found.stored.count > 0
        else:
            digest.update(found.stored.tobytes() + str(found.label).encode())
    return digest.hexdigest()


def _outcome(root: Path, read: Callable[[], str]) -> str:
    try:
        return read()
    except FactoryError as error:
        return type(error).__name__
    finally:
        shutil.rmtree(root / "datasets", ignore_errors=True)


def _readers(root: Path, kind: str) -> dict[str, Callable[[], str]]:
    """What reads a file in each way, `published` as the manifest knows it now."""
    if kind.endswith(".stream"):
        return {"imported": lambda: _imported(root, kind)}
    published = _adopted(root)
    readers = {
        "published": lambda: _content(published),
        "adopted": lambda: _content(_adopted(root)),
    }
    if kind.endswith(".parquet"):
        readers["imported"] = lambda: _imported(root, kind)
    return readers


def _metadata(original: bytes, kind: str) -> range:
    """The places, from the end, of the bytes that say what the others are: the footer, or the
    beginning of a stream."""
    if kind.endswith(".stream"):
        return range(-len(original), STREAM_HEAD - len(original))
    return range(-len(read_footer(pa.BufferReader(original), kind)), 0)


def _each(root: Path, kind: str, count: int, step: int) -> Iterator[tuple[str, str]]:
    """What becomes of so many mutated files, however they are read, and of the file with every
    step-th byte of its metadata changed."""
    path = root / "files" / kind
    shutil.rmtree(root, ignore_errors=True)
    path.parent.mkdir(parents=True)
    KINDS[kind](path)
    original, readers = path.read_bytes(), _readers(root, kind)
    expected = {way: read() for way, read in readers.items()}
    for number in (*_metadata(original, kind)[::step], *range(count)):
        print(kind, number, file=sys.stderr, flush=True)
        path.write_bytes(mutated(original, kind, number))
        for way, read in readers.items():
            outcome = _outcome(root, read)
            known = {expected[way]: "the same records"}.get(outcome, outcome)
            yield f"{way} {kind}", "other records" if len(known) == len(expected[way]) else known


def main(root: Path, count: int, step: int) -> None:
    """Print how often each thing became of each kind of file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts = defaultdict[str, Counter[str]](Counter)
    for kind in KINDS:
        for which, outcome in _each(root / "hostile", kind, count, step):
            counts[which][outcome] += 1
    print(json.dumps(counts))


def read_in_a_child(root: Path, count: int, step: int) -> dict[str, Counter[str]]:
    """What became of so many mutated files of each kind. Fails when the child was ended."""
    command = [sys.executable, "-W", "error", __file__, str(root), str(count), str(step)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, (child.returncode, child.stderr[-2000:])
    return {which: Counter(found) for which, found in json.loads(child.stdout).items()}


@pytest.mark.parametrize(
    ("count", "step"),
    [(15, 9), pytest.param(2500, 1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_a_mutated_file_is_a_typed_error_or_has_records(
    count: int, step: int, tmp_path: Path
) -> None:
    found = read_in_a_child(tmp_path, count, step)

    assert {word for counts in found.values() for word in counts} == {
        "the same records",
        "other records",
        "ImportRefused",
        "ShardCorrupt",
    }
    for which, counts in found.items():
        print(which, dict(counts))
        assert counts.total() > count
        assert counts["ImportRefused"] == 0 or not which.startswith("published")
    # Where every page has its checksum, no changed byte is learned from.
    assert found["published checked.parquet"]["other records"] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
