"""Damage is found, named, and left out: of a dataset of our own and of an adopted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numbered import Numbered, numbers_of, write_groups

from aigc.data.adopt import adopt
from aigc.data.catalog import Dataset, find, publish
from aigc.data.shards import SAMPLE, shard_of
from aigc.data.stream import Stream
from aigc.data.verification import proof, verify, without
from aigc.errors import DataError, ShardCorrupt

Damaging = Callable[[Path], None]


@pytest.fixture(params=["own", "adopted"])
def dataset(request: pytest.FixtureRequest, numbered: Numbered, tmp_path: Path) -> Dataset:
    """Records 0 … 999 in two shards of five row groups of a hundred."""
    made = numbered(1000, group_records=100)
    if request.param == "own":
        return made
    return adopt(tmp_path / "datasets", str(made.folder / "shards"), "lake")[0]


def shard(dataset: Dataset, number: int = 1) -> Path:
    return dataset.location.folder / dataset.manifest.shards[number].path


def flip(path: Path, *groups: int, column: int = 0) -> None:
    """Change one bit in a page of a column in each of these row groups."""
    metadata, content = pq.read_metadata(path), bytearray(path.read_bytes())
    for group in groups:
        chunk = metadata.row_group(group).column(column)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content[start + chunk.total_compressed_size - 1] ^= 4
    path.write_bytes(content)


def numbers(dataset: Dataset) -> list[int]:
    """The records of one epoch, sorted."""
    stream = Stream(dataset, "train", 30, seed=0, window=200, drop_last=False)
    batches = zip(range(stream.batches_per_epoch), stream.batches(), strict=False)
    return sorted(number for _, (batch, _) in batches for number in numbers_of(batch))


def lost(*groups: int) -> list[int]:
    """The records that are left without these row groups of a hundred, counted over all shards."""
    return [number for number in range(1000) if number // 100 not in groups]


def test_what_is_whole_is_said_to_be(dataset: Dataset) -> None:
    assert verify(dataset) == []
    is_hashed = dataset.manifest.shards[0].sha256 is not None
    assert proof(dataset).startswith("every file has its" if is_hashed else "footers are as")


def test_no_hash_is_claimed_for_a_file_of_which_a_part_is_left_out(numbered: Numbered) -> None:
    dataset = numbered(1000, group_records=100)
    flip(shard(dataset), 2)
    kept = without(dataset, verify(dataset))

    assert verify(kept) == []
    assert proof(kept).startswith("1 of 2 files have their published hash; of the others, footers")


@pytest.mark.parametrize("column", [0, 1])
def test_a_changed_byte_names_shard_row_group_and_column(dataset: Dataset, column: int) -> None:
    flip(shard(dataset), 2, column=column)
    (damage,) = verify(dataset)

    assert damage.path == dataset.manifest.shards[1].path
    assert damage.row_groups == (2,)
    name = ("image", "label")[column]
    assert f"train-00001.parquet: row group 2: column '{name}'" in str(damage)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def break_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20] + b"\0" + path.read_bytes()[-19:])


def add(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [Path.unlink, truncate, break_footer, add])
def test_a_file_that_cannot_be_read_loses_all_its_row_groups(
    dataset: Dataset, damage: Damaging
) -> None:
    damage(shard(dataset))
    (found,) = verify(dataset)

    assert found.row_groups == (0, 1, 2, 3, 4)
    assert "train-00001.parquet" in str(found)
    kept = without(dataset, [found])
    assert [each.path for each in kept.manifest.shards] == [dataset.manifest.shards[0].path]
    assert numbers(kept) == lost(5, 6, 7, 8, 9)


def test_a_byte_that_nobody_reads_is_found_where_there_is_a_hash(numbered: Numbered) -> None:
    """The first four bytes of a Parquet file only say what it is."""
    dataset = numbered(1000)
    shard(dataset).write_bytes(b"NONE" + shard(dataset).read_bytes()[4:])
    (damage,) = verify(dataset)

    assert "sha256 is not the manifest's, yet every record can be read" in str(damage)
    assert damage.row_groups == ()
    assert numbers(dataset) == lost()


def test_a_foreign_file_is_found_among_our_own(numbered: Numbered) -> None:
    dataset = numbered(1000)
    (dataset.folder / "shards" / "extra.parquet").write_bytes(b"PAR1")

    assert [str(damage) for damage in verify(dataset)] == [
        "shards/extra.parquet is not in the manifest"
    ]


def test_a_file_beside_adopted_ones_is_none_of_our_business(
    numbered: Numbered, tmp_path: Path
) -> None:
    folder = numbered(1000).folder / "shards"
    dataset, _ = adopt(tmp_path / "datasets", str(folder), "lake")
    (folder / "later.parquet").write_bytes(b"PAR1")

    assert verify(dataset) == []


def test_labels_that_are_no_classes_are_damage(numbered: Numbered, tmp_path: Path) -> None:
    folder = numbered(100).folder / "shards"
    table = pq.read_table(folder / "train-00000.parquet")
    labels = pa.array(np.where(np.arange(100) == 70, 10, 1).astype("int32"))
    pq.write_table(table.set_column(1, table.field(1), labels), folder / "train-00000.parquet",
        row_group_size=50)  # fmt: skip
    (damage,) = verify(adopt(tmp_path / "datasets", str(folder), "lake")[0])

    assert "row group 1, rows from 0 on: column 'label': labels 1 … 10" in str(damage)
    assert damage.row_groups == (1,)


def test_a_version_without_what_is_damaged_has_everything_else(dataset: Dataset) -> None:
    flip(shard(dataset, 0), 1)
    flip(shard(dataset, 1), 0, 3)
    damages = verify(dataset)
    with pytest.raises(ShardCorrupt, match="row group"):
        numbers(dataset)
    kept = without(dataset, damages)

    assert [damage.row_groups for damage in damages] == [(1,), (0,), (3,)]
    assert numbers(kept) == lost(1, 5, 8)
    assert sum(kept.manifest.splits.values()) == 700
    assert len(kept.records("train").stored) == 700
    assert verify(kept) == []
    assert [each.path for each in kept.manifest.shards] == [
        each.path for each in dataset.manifest.shards
    ]
    assert kept.location == dataset.location
    assert [path.name for path in kept.folder.rglob("*")] == ["manifest.json"]


def test_the_version_says_what_it_leaves_out_and_is_the_newest(dataset: Dataset) -> None:
    flip(shard(dataset), 2)
    damages = verify(dataset)
    kept = without(dataset, damages)
    source = kept.manifest.source

    assert source["from"] == dataset.reference
    assert source["quarantined"] == [damages[0].what]
    assert kept.manifest.digest != dataset.manifest.digest
    assert find(kept.folder.parent.parent, dataset.manifest.name) == kept
    assert numbers(find(kept.folder.parent.parent, kept.reference)) == lost(7)


def test_quarantining_twice_is_one_version(dataset: Dataset) -> None:
    flip(shard(dataset), 2)
    once, again = without(dataset, verify(dataset)), without(dataset, verify(dataset))

    assert once.manifest == again.manifest


def test_damage_that_comes_later_is_left_out_too(dataset: Dataset) -> None:
    flip(shard(dataset), 2)
    first = without(dataset, verify(dataset))
    flip(shard(dataset), 4)
    (damage,) = verify(first)
    second = without(first, [damage])

    assert damage.row_groups == (4,)
    assert numbers(second) == lost(7, 9)
    assert verify(second) == []
    assert without(dataset, verify(dataset)).reference == second.reference


def test_a_shard_of_which_no_record_is_left_is_left_out(numbered: Numbered, tmp_path: Path) -> None:
    folder = numbered(1000).folder / "shards"
    path = folder / "test.parquet"
    table = pq.read_table(folder / "train-00000.parquet")
    with pq.ParquetWriter(path, table.schema, write_page_checksum=True) as file:
        file.write_table(table[:0])
        file.write_table(table)
    dataset, _ = adopt(tmp_path / "datasets", str(folder), "lake")
    flip(path, 1)
    kept = without(dataset, verify(dataset))

    assert dataset.manifest.splits["test"] == len(table)
    assert list(kept.manifest.splits) == ["train"]


def test_nothing_is_published_when_nothing_is_left(dataset: Dataset) -> None:
    for number in (0, 1):
        shard(dataset, number).unlink()
    before = sorted(dataset.folder.parent.iterdir())

    with pytest.raises(DataError, match="has no undamaged row group"):
        without(dataset, verify(dataset))
    assert sorted(dataset.folder.parent.iterdir()) == before


@pytest.fixture
def generated(numbered: Numbered) -> Dataset:
    """The same records with the ids of the samples of a plan, as a generation publishes them."""
    made = numbered(1000, group_records=100)
    for number, each in enumerate(made.manifest.shards):
        path = made.folder / each.path
        ids = pa.array(range(500 * number, 500 * number + 500))
        write_groups(path, pq.read_table(path).append_column(SAMPLE, ids), 100)
    shards = [shard_of(made.folder, each.path, each.split) for each in made.manifest.shards]
    changes = {
        "name": "generated",
        "columns": {**made.manifest.columns, SAMPLE: "int64"},
        "shards": tuple(shards),
        "source": {"plan": {"count": 1000}},
    }
    location = {"location": made.folder.as_uri()}
    manifest = made.manifest.model_copy(update={**changes, **location})
    return publish(made.folder.parent.parent / "generated" / "v1", manifest)


def test_samples_may_be_missing_from_what_leaves_them_out_and_from_nothing_else(
    generated: Dataset,
) -> None:
    assert verify(generated) == []
    flip(shard(generated), 2)
    kept = without(generated, verify(generated))

    assert numbers(kept) == lost(7)
    assert verify(kept) == []
    halved = generated.manifest.model_copy(update={"shards": generated.manifest.shards[:1]})
    (damage,) = verify(publish(generated.folder.parent / "v2", halved))
    assert str(damage) == "500 samples are missing, the first is 500"
