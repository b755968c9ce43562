"""A shard that is not what its manifest says: every fault is an error that names the place."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aigc.data.adopt import adopt
from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.footers import read_footer
from aigc.data.manifest import Footer, Shard
from aigc.data.reader import OpenShards
from aigc.data.stream import Stream
from aigc.errors import ShardCorrupt

Copy = Callable[[Dataset], Dataset]


def shard_path(dataset: Dataset, number: int = 1) -> Path:
    return dataset.location.folder / dataset.manifest.shards[number].path


def content(dataset: Dataset) -> list[bytes]:
    """The records of the second shard, as they are handed out."""
    shards = OpenShards(dataset.location, dataset.manifest, 1)
    shard = dataset.manifest.shards[1]
    try:
        pieces = [
            piece for group in shard.readable for piece in shards.row_group(shard, group).records()
        ]
    finally:
        shards.close()
    return [
        part.numpy().tobytes()
        for stored, labels in pieces
        for part in (stored, labels)
        if part is not None
    ]


def batches(dataset: Dataset) -> Iterator[Batch]:
    stream = Stream(dataset, "train", 50, seed=0, window=50)
    return (batch for batch, _ in itertools.islice(stream.batches(), stream.batches_per_epoch))


def with_entry(dataset: Dataset, table: pa.Table, rows: tuple[int, ...] | None = None) -> Dataset:
    """The dataset whose second shard is `table`, and whose manifest says so, but for `rows`."""
    path, shard = shard_path(dataset), dataset.manifest.shards[1]
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=50, write_page_checksum=True)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=50)
    with pa.OSFile(str(path)) as file:
        footer = read_footer(file, shard.path)
    entry = Shard(
        path=shard.path,
        split="train",
        row_groups=rows or shard.row_groups,
        bytes=path.stat().st_size,
        footer=Footer(bytes=len(footer), sha256=hashlib.sha256(footer).hexdigest()),
    )
    shards = (dataset.manifest.shards[0], entry, *dataset.manifest.shards[2:])
    return Dataset(dataset.folder, dataset.manifest.model_copy(update={"shards": shards}))


def test_a_file_that_ends_early_is_found_wherever_it_ends(made: Dataset, copied: Copy) -> None:
    there = copied(made)
    whole = shard_path(there).read_bytes()
    for size in sorted({0, 1, 3, 4, 8, 12, *range(0, len(whole), 97), len(whole) - 1}):
        shard_path(there).write_bytes(whole[:size])
        with pytest.raises(ShardCorrupt, match=rf"1\.\w+: it has {size} bytes, the manifest says"):
            content(there)


def test_bytes_that_were_added_are_found(made: Dataset, copied: Copy) -> None:
    there = copied(made)
    with shard_path(there).open("ab") as file:
        file.write(b"\0")

    with pytest.raises(ShardCorrupt, match=r"1\.\w+: it has \d+ bytes, the manifest says"):
        content(there)


def test_one_changed_byte_of_a_page_with_a_checksum_is_never_learned_from(
    parquet: Dataset, copied: Copy
) -> None:
    there, outcomes = copied(parquet), Counter[str]()
    expected, path = content(there), shard_path(there)
    whole, source = path.read_bytes(), random.Random(0)
    footer = there.manifest.shards[1].footer.bytes
    places = {*range(40), *range(len(whole) - footer - 20, len(whole), 40), len(whole) - 1}
    for place in sorted(places | {source.randrange(len(whole)) for _ in range(400)}):
        changed = whole[place] ^ (1 << source.randrange(8))
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        try:
            assert content(there) == expected
            outcomes["harmless"] += 1
        except ShardCorrupt as error:
            named = "row group" if "row group" in str(error) else "footer"
            is_named = named == "footer" or re.search("column '|has 0 rows", str(error))
            is_right = (named == "footer") == (place >= len(whole) - footer)
            outcomes[named if is_named and is_right else str(error)] += 1

    assert len(outcomes) == 3, outcomes
    # Of a page's header its checksum says nothing: statistics there are not read.
    assert outcomes["row group"] > 300
    assert outcomes["footer"] > 40
    assert outcomes["harmless"] < 40


def test_one_changed_byte_of_an_ipc_file_changes_no_shape_and_ends_no_process(
    ipc: Dataset, copied: Copy
) -> None:
    there, outcomes = copied(ipc), Counter[str]()
    expected, path = content(there), shard_path(there)
    whole, source = path.read_bytes(), random.Random(0)
    for place in sorted(source.randrange(len(whole)) for _ in range(400)):
        changed = whole[place] ^ (1 << source.randrange(8))
        path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
        try:
            found = content(there)
            assert [len(part) for part in found] == [len(part) for part in expected]
            outcomes["harmless" if found == expected else "unnoticed"] += 1
        except ShardCorrupt:
            outcomes["noticed"] += 1

    # IPC has no checksums: only `aigc data verify` finds these, where the file's hash is known.
    assert outcomes["unnoticed"] > 200
    assert outcomes["noticed"] > 10


def test_a_missing_shard_is_named(made: Dataset, copied: Copy) -> None:
    there = copied(made)
    shard_path(there).unlink()

    with pytest.raises(ShardCorrupt, match=r"copy/1\.\w+: it is missing"):
        list(batches(there))


def test_another_file_of_the_same_length_is_found(made: Dataset, copied: Copy) -> None:
    there = copied(made)
    path = shard_path(there)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + whole[-39:-10] + b"\0" + whole[-10:])

    with pytest.raises(ShardCorrupt, match=r"1\.\w+: its footer is not the one in the manifest"):
        content(there)


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end_or_named(
    made: Dataset, copied: Copy
) -> None:
    there = copied(made)
    expected, stream = list(batches(made)), batches(there)
    found = [next(stream)]
    for shard in there.manifest.shards:
        other = there.location.folder / "other"
        other.write_bytes((there.location.folder / shard.path).read_bytes()[:-30] + bytes(30))
        other.replace(there.location.folder / shard.path)
    with pytest.raises(ShardCorrupt, match="copy/"):  # noqa: PT012
        found.extend(stream)
        found.extend(batches(there))

    for one, other_one in zip(found, expected, strict=False):
        assert torch.equal(one.records, other_one.records)


WHILE_OPEN = """
import sys
from pathlib import Path
from aigc.data.catalog import Dataset
from aigc.data.manifest import Manifest
from aigc.data.reader import OpenShards
from aigc.errors import ShardCorrupt

manifest = Manifest.model_validate_json(sys.stdin.read())
dataset = Dataset(Path(), manifest)
shards = OpenShards(dataset.location, manifest, 1)
shard = manifest.shards[1]
reading = shards.row_group(shard, 0).records()
next(reading)
path = dataset.location.folder / shard.path
{damage}
try:
    for group in shard.readable:
        for _ in shards.row_group(shard, group).records():
            pass
except ShardCorrupt as error:
    print(error)
"""


@pytest.mark.parametrize(
    "damage",
    [
        "open(path, 'r+b').truncate(100)",
        "open(path, 'r+b').write(bytes(path.stat().st_size - 200))",
    ],
)
def test_a_file_that_is_cut_while_it_is_read_ends_no_process(
    damage: str, made: Dataset, copied: Copy
) -> None:
    there = copied(made)
    child = subprocess.run(
        [sys.executable, "-c", WHILE_OPEN.format(damage=damage)],
        input=there.manifest.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert child.returncode == 0, child.stderr
    assert re.search(r"copy/1\.\w+: row group \d", child.stdout), child.stdout


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """The table with another column of that name, which may hold nulls."""
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns(["label"]), "there are no columns 'label'"),
        (lambda t: t.rename_columns(["picture", "label"]), "there are no columns 'image'"),
        (lambda t: t.append_column("label", t["label"]), "there are 2 columns 'label'"),
        (
            lambda t: replaced(t, "label", t["label"].cast("int64")),
            "column 'label' is int64, not int32",
        ),
        (
            lambda t: replaced(t, "image", pa.array([b"1234"] * len(t), pa.binary(4))),
            r"column 'image' is fixed_size_binary\[4\], not fixed_size_binary\[64\]",
        ),
    ],
)
def test_another_schema_is_named(change, said: str, made, copied: Copy, table) -> None:
    with pytest.raises(ShardCorrupt, match=rf"copy/1\.\w+: {said}"):
        content(with_entry(copied(made), change(table)))


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_null_is_named(name: str, made: Dataset, copied: Copy, table: pa.Table) -> None:
    values = table[name].to_pylist()
    values[120] = None
    with_null = replaced(table, name, pa.array(values, table[name].type))

    with pytest.raises(ShardCorrupt, match=rf"1\.\w+: row group 2: column '{name}' holds a null"):
        content(with_entry(copied(made), with_null))


ADOPTED = """
import sys
from pathlib import Path
from aigc.data.adopt import adopt
from aigc.errors import ImportRefused

folder = Path(sys.argv[1])
try:
    adopt(folder, str(folder / "files"), "made")
except ImportRefused as error:
    print(error)
"""


def test_an_offset_that_points_elsewhere_ends_no_process(tmp_path: Path) -> None:
    offsets = pa.array([0, 2**30, 8], "int32").buffers()[1]
    image = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"12345678")])
    batch = pa.record_batch({"image": image})
    (tmp_path / "files").mkdir()
    with pa.ipc.new_file(tmp_path / "files" / "0.arrow", batch.schema) as file:
        file.write_batch(batch)
    child = subprocess.run(
        [sys.executable, "-c", ADOPTED, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert child.returncode == 0, child.stderr
    assert "row group 0: column 'image'" in child.stdout


@pytest.mark.parametrize("label", [-1, 10, 2**31 - 1])
def test_a_label_that_no_class_has_is_named(label: int, made, copied: Copy, table) -> None:
    values = table["label"].to_pylist()
    values[60] = label

    with pytest.raises(ShardCorrupt, match=rf"row group 1.*column 'label': labels .*{label}"):
        content(with_entry(copied(made), replaced(table, "label", pa.array(values, "int32"))))


@pytest.mark.parametrize("rows", [(50, 50, 50, 51), (50, 50, 50, 49)])
def test_a_row_group_of_other_rows_than_the_manifest_says_is_named(
    rows: tuple[int, ...], made: Dataset, copied: Copy, table: pa.Table
) -> None:
    there = with_entry(copied(made), table, rows)

    with pytest.raises(ShardCorrupt, match=f"row group 3 has 50 rows, the manifest says {rows[3]}"):
        content(there)


def test_a_row_group_that_is_not_there_is_named(made, copied: Copy, table) -> None:
    there = with_entry(copied(made), table, (50, 50, 50, 50, 50))

    with pytest.raises(ShardCorrupt, match=r"1\.\w+: row group 4"):
        content(there)


def test_empty_row_groups_and_shards_are_read_over(tmp_path: Path, table: pa.Table) -> None:
    (tmp_path / "files").mkdir()
    with pq.ParquetWriter(tmp_path / "files" / "0.parquet", table.schema) as file:
        for part in (table[:0], table[:50], table[:0], table[50:]):
            file.write_table(part)
    pq.write_table(table[:0], tmp_path / "files" / "1.parquet")
    with pa.ipc.new_file(tmp_path / "files" / "2.arrow", table.schema) as ipc:
        for part in (table[:0], table[:50], table[:0]):
            batch = pa.RecordBatch.from_pylist(part.to_pylist(), schema=table.schema)
            ipc.write_batch(batch)
    there, _ = adopt(tmp_path, str(tmp_path / "files"), "made")

    assert {0} < {rows for shard in there.manifest.shards for rows in shard.row_groups}
    assert sum(len(batch.records) for batch in batches(there)) == len(table) + 50
