"""Files as their owners have them become a dataset, and nothing but a manifest is written."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from aigc.data.adopt import adopt
from aigc.data.catalog import Dataset, find
from aigc.data.description import Description
from aigc.data.footers import read_ending
from aigc.data.reader import OpenShards
from aigc.data.shards import table_of
from aigc.data.stream import Stream
from aigc.data.verification import verify
from aigc.errors import (
    DatasetNotFound,
    FactoryError,
    ImportRefused,
    ShardCorrupt,
    StorageUnavailable,
)
from aigc.layout import Layout
from aigc.modalities import image, modality
from aigc.modalities.image_files import read_image

COUNT, SHAPE, CLASSES = 40, (3, 4, 4), ("cat", "dog", "owl")
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
LABELS = np.arange(COUNT) % 3
SHAPED = Description(shape=SHAPE)

RAW = pa.array([image.tobytes() for image in PIXELS], pa.binary(PIXELS[0].size))
LISTS = pa.FixedSizeListArray.from_arrays(pa.array(PIXELS.reshape(-1)), PIXELS[0].size)
TENSORS = pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS)


def encoded(kind: str) -> list[bytes]:
    """The images as files; of JPEG, what it keeps of them."""
    files = [io.BytesIO() for _ in PIXELS]
    for file, pixels in zip(files, PIXELS, strict=True):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file, kind)
    return [file.getvalue() for file in files]


PNG, JPEG = encoded("PNG"), encoded("JPEG")
PATHS = pa.array([f"{number}.png" for number in range(COUNT)])
STRUCTS = pa.StructArray.from_arrays([pa.array(PNG), PATHS], ["bytes", "path"])
PHOTOS = pa.StructArray.from_arrays([pa.array(JPEG), PATHS], ["bytes", "path"])


def table(image: pa.Array = RAW, label: Any = LABELS, **more: pa.Array) -> pa.Table:
    return pa.table({"image": image, "label": pa.array(label), **more})


def hugging_face(image: pa.Array = STRUCTS, names: tuple[str, ...] = CLASSES) -> pa.Table:
    """As `datasets` writes a table of images: the features stand in the schema's metadata."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(names), "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return table(image).replace_schema_metadata(metadata)


def write(path: Path, content: pa.Table, **options: Any) -> Path:
    """A Parquet or Arrow IPC file of row groups of eight rows, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(content, path, row_group_size=8, **options)
        return path.parent
    with pa.ipc.new_file(path, content.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(content, max_chunksize=8)
    return path.parent


@pytest.fixture
def adopted(tmp_path: Path) -> Callable[..., Dataset]:
    """Adopts a folder as lake, in a workspace of its own."""

    def run(folder: Path | str, description: Description = SHAPED) -> Dataset:
        return adopt(tmp_path / "datasets", str(folder), "lake", description)[0]

    return run


def streamed(dataset: Dataset, split: str = "train") -> list[tuple[bytes, int | None]]:
    """Each record of an epoch with its label, sorted."""
    stream = Stream(dataset, split, batch_size=6, seed=0, window=12, drop_last=False)
    found = []
    for _, (batch, _) in zip(range(stream.batches_per_epoch), stream.batches(), strict=False):
        stored = modality("image").encode(batch.records)
        labels = [None] * len(stored) if batch.labels is None else batch.labels.tolist()
        found += [(image.numpy().tobytes(), n) for image, n in zip(stored, labels, strict=True)]
    return sorted(found)


def expected(pixels: Any = PIXELS, labels: Any = LABELS) -> list[tuple[bytes, int | None]]:
    return sorted(
        (p.tobytes(), None if n is None else int(n)) for p, n in zip(pixels, labels, strict=True)
    )


KINDS: dict[str, tuple[pa.Table, Description]] = {
    "raw bytes": (table(), SHAPED),
    "lists": (table(LISTS), SHAPED),
    "tensors": (table(TENSORS), Description()),
    "PNG": (table(pa.array(PNG)), Description()),
    "PNG, large": (table(pa.array(PNG, pa.large_binary())), Description()),
    "Hugging Face": (hugging_face(), Description()),
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".ipc"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_handed_out_as_the_files_have_it(
    kind: str, suffix: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    content, description = KINDS[kind]
    write(tmp_path / "lake" / f"a{suffix}", content[:17])
    write(tmp_path / "lake" / f"b{suffix}", content[17:])
    dataset = adopted(tmp_path / "lake", description)

    assert [shard.row_groups for shard in dataset.manifest.shards] == [(8, 8, 1), (8, 8, 7)]
    assert dataset.manifest.layout.shape == SHAPE
    assert dataset.manifest.layout.classes == 3
    assert streamed(dataset) == expected()
    assert verify(dataset) == []


def test_photographs_are_decoded_as_pillow_does(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "train-00000-of-00001.parquet", hugging_face(PHOTOS))
    images = [np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1) for file in JPEG]

    assert streamed(adopted(folder, Description())) == expected(images)


def test_grey_files_have_one_channel(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    files = [io.BytesIO() for _ in PIXELS]
    for file, pixels in zip(files, PIXELS, strict=True):
        Image.fromarray(pixels[0]).save(file, "PNG")
    content = table(pa.array([file.getvalue() for file in files]))
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", content), Description())

    assert dataset.manifest.layout.shape == (1, 4, 4)
    assert streamed(dataset) == expected(PIXELS[:, :1])


def test_a_table_of_pandas_is_adopted(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    frame = pd.DataFrame({"id": range(COUNT), "picture": PNG, "kind": LABELS.astype(np.int8)})
    (tmp_path / "lake").mkdir()
    frame[frame.id % 2 == 1].to_parquet(tmp_path / "lake" / "odd.parquet")
    dataset = adopted(tmp_path / "lake", Description(label="kind"))
    there = pd.read_parquet(tmp_path / "lake")

    assert dataset.manifest.column_names == {"image": "picture", "label": "kind"}
    assert streamed(dataset) == expected(PIXELS[there.id], there.kind)


def test_our_own_shards_say_their_layout_themselves(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    layout = Layout(modality="image", shape=SHAPE, labels=CLASSES)
    content = table_of(torch.from_numpy(PIXELS), torch.from_numpy(LABELS), layout)
    dataset = adopted(write(tmp_path / "lake" / "a.arrow", content), Description())

    assert dataset.manifest.layout == layout
    assert streamed(dataset) == expected()


@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_labels_are_whole_numbers_of_any_width(
    kind: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", table(label=LABELS.astype(kind))))

    assert dataset.manifest.layout.labels == ("0", "1", "2")
    assert streamed(dataset) == expected()


def test_hugging_face_says_the_names_of_the_classes_and_the_splits(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    for name, rows in [("train", 20), ("validation", 12), ("test", 8)]:
        path = tmp_path / "lake" / "data" / f"{name}-00000-of-00001.parquet"
        write(path, hugging_face()[:rows])
    dataset = adopted(tmp_path / "lake", Description())

    assert dataset.manifest.layout.labels == CLASSES
    assert dataset.manifest.splits == {"test": 8, "train": 20, "validation": 12}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("part-0.parquet", "train"),
        ("test/part-0.parquet", "test"),
        ("deep/er/Val/part-0.parquet", "validation"),
        ("dev_set.parquet", "validation"),
        ("train/latest.parquet", "train"),
        ("constraints/contest.parquet", "train"),
    ],
)
def test_the_path_says_the_split(
    path: str, split: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    write(tmp_path / "lake" / path, table())

    assert list(adopted(tmp_path / "lake").manifest.splits) == [split]


def test_folders_named_by_a_column_give_no_labels(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    for label in (0, 1):
        write(tmp_path / "lake" / f"label={label}" / "a.parquet", table().select(["image"]))

    assert adopted(tmp_path / "lake").manifest.layout.labels == ()
    with pytest.raises(ImportRefused, match=r"there is no column 'label'.*aigc data import"):
        adopted(tmp_path / "lake", Description(shape=SHAPE, label="label"))


def test_what_is_no_shard_is_passed_over(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    for name in ("_SUCCESS", "README.md", ".a.parquet.crc", ".hidden.parquet", "_metadata"):
        (folder / name).write_bytes(b"not a shard")
    write(folder / "_temporary" / "0" / "b.parquet", table())
    write(folder / ".git" / "c.parquet", table())

    assert [shard.path for shard in adopted(folder).manifest.shards] == ["a.parquet"]


@pytest.mark.parametrize(
    "name", ["with space", "100%", "%20", "ünï", "a#b", "a?b", "a+b&c=d", "[x]"]
)
def test_any_name_of_a_file_or_a_folder_will_do(
    name: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    write(tmp_path / name / name / f"{name}.parquet", table())

    assert streamed(adopted(tmp_path / name)) == expected()


def test_ways_to_write_a_folder_are_one_dataset(
    tmp_path: Path, adopted: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = [str(folder), f"{folder}/", "lake", "./lake/", "~/lake", folder.as_uri()]

    assert len({adopted(way).reference for way in ways}) == 1


def test_nothing_but_a_manifest_is_written(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    write(folder / "test" / "b.arrow", table())
    before = state(folder)
    dataset = adopted(folder)
    streamed(dataset)

    assert state(folder) == before
    written = [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()]
    assert written == [dataset.folder / "manifest.json"]


def state(folder: Path) -> dict[Path, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


class Counted(io.FileIO):
    """A file that counts the bytes that are read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        content: bytes = super().read(-1 if size is None else size)
        self.count += len(content)
        return content


def writer(path: Path, schema: pa.Schema, compression: str) -> Any:
    if path.suffix == ".parquet":
        return pq.ParquetWriter(path, schema, compression=compression)
    codec = None if compression == "none" else compression
    return pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression=codec))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("rows", [(), (1,), (300, 0, 200, 1)])
def test_no_record_is_read_to_count_them(
    suffix: str, compression: str, rows: tuple[int, ...], tmp_path: Path
) -> None:
    path, batch = tmp_path / f"a{suffix}", pa.record_batch({"image": [os.urandom(10_000)] * 300})
    with writer(path, batch.schema, compression) as file:
        for count in rows:
            file.write_batch(batch[:count])

    with Counted(path) as counted:
        assert read_ending(pa.PythonFile(counted, mode="r"), path.name).row_groups == rows
        assert counted.count < 3000


def test_adopting_twice_is_one_version(tmp_path: Path) -> None:
    folder, root = write(tmp_path / "lake" / "a.parquet", table()), tmp_path / "datasets"
    one, made = adopt(root, str(folder), "lake", SHAPED)
    two, made_again = adopt(root, str(folder), "lake", SHAPED)

    assert (made, made_again) == (True, False)
    assert one.manifest == two.manifest


def test_what_is_added_later_is_another_version_and_the_old_one_still_reads(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table()[:30])
    before = adopted(folder)
    write(folder / "b.parquet", table()[30:])
    after = adopted(folder)

    assert before.reference != after.reference
    assert find(tmp_path / "datasets", "lake").reference == after.reference
    assert streamed(before) == expected(PIXELS[:30], LABELS[:30])
    assert streamed(after) == expected()


def test_a_file_that_moves_to_another_split_is_another_version(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "train.parquet", table())
    adopted(folder)
    (folder / "train.parquet").rename(folder / "test.parquet")

    assert streamed(adopted(folder), "test") == expected()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_file_that_is_changed_afterwards_is_named(
    suffix: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / f"a{suffix}", table())
    write(folder / f"b{suffix}", table())
    dataset = adopted(folder)
    write(folder / f"b{suffix}", table()[:39])

    with pytest.raises(ShardCorrupt, match=rf"lake/b\{suffix}: it has \d+ bytes"):
        streamed(dataset)
    (damage,) = verify(dataset)
    assert f"b{suffix}" in str(damage)


def test_files_and_row_groups_without_rows_are_no_obstacle(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    content = table(pa.array(PNG))
    folder = write(tmp_path / "lake" / "a.parquet", content[:0])
    with pq.ParquetWriter(folder / "b.parquet", content.schema) as file:
        for part in (content[:0], content[:7], content[:0], content[7:], content[:0]):
            file.write_table(part)
    dataset = adopted(folder, Description())

    assert [shard.row_groups for shard in dataset.manifest.shards] == [(0, 7, 0, 33, 0)]
    assert dataset.manifest.layout.labels == ("0", "1", "2")
    assert streamed(dataset) == expected()
    assert verify(dataset) == []


def test_a_split_without_a_record_is_none(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    write(tmp_path / "lake" / "train.parquet", table())
    dataset = adopted(write(tmp_path / "lake" / "test.parquet", table()[:0]))

    assert dataset.manifest.splits == {"train": COUNT}
    with pytest.raises(DatasetNotFound, match="has no split 'test'"):
        dataset.records("test")


def test_no_file_is_found_twice_through_a_link(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    (folder / "again").symlink_to(".")
    write(tmp_path / "elsewhere" / "b.parquet", table())
    (folder / "b.parquet").symlink_to(tmp_path / "elsewhere" / "b.parquet")

    assert [shard.path for shard in adopted(folder).manifest.shards] == ["a.parquet", "b.parquet"]


def test_a_name_that_a_manifest_cannot_hold_is_refused(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("not a shard")
    assert streamed(adopted(folder)) == expected()
    (folder / "a.parquet").rename(folder / os.fsdecode(b"caf\xe9.parquet"))

    with pytest.raises(ImportRefused, match=r"lake/caf\\xe9\.parquet is not UTF-8. Rename"):
        adopted(folder)
    with pytest.raises(ImportRefused, match=r"caf\\xe9 is not UTF-8"):
        adopted(folder.rename(tmp_path / os.fsdecode(b"caf\xe9")))


@pytest.mark.parametrize("names", [None, ["C", "H", "W"], ["channels", "height", "width"]])
def test_tensors_may_name_their_axes(
    names: list[str] | None, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    content = table(tensors(dim_names=names))
    dataset = adopted(write(tmp_path / "lake" / "a.arrow", content), Description())

    assert streamed(dataset) == expected()


def test_grey_tensors_have_one_channel(tmp_path: Path, adopted: Callable[..., Dataset]) -> None:
    grey = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(PIXELS[:, 0]))
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", table(grey)), Description())

    assert dataset.manifest.layout.shape == (1, 4, 4)
    assert streamed(dataset) == expected(PIXELS[:, :1])


def test_the_column_is_named_where_several_could_be_meant(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table(RAW[::-1], thumbnail=RAW))
    with pytest.raises(ImportRefused, match=r"one column of images.*thumbnail.*--column"):
        adopted(folder)

    assert streamed(adopted(folder, Description(column="thumbnail", shape=SHAPE))) == expected()


def test_a_metadata_entry_of_somebody_else_is_not_taken_for_a_layout(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    for number, metadata in enumerate([{"layout": "grid"}, {"huggingface": "["}]):
        content = table(pa.array(PNG)).replace_schema_metadata(metadata)
        folder = write(tmp_path / str(number) / "a.parquet", content)

        assert adopted(folder, Description()).manifest.layout.labels == ("0", "1", "2")


def own(shape: tuple[int, ...] = SHAPE, column: str = "image") -> pa.Table:
    layout = Layout(modality="image", shape=shape, labels=CLASSES)
    renamed = table().rename_columns([column, "label"])
    return renamed.replace_schema_metadata({"layout": layout.model_dump_json()})


def tensors(shape: tuple[int, ...] = SHAPE, **axes: Any) -> pa.Array:
    """The same bytes, said to be of another shape, or their axes of another order."""
    kind = pa.fixed_shape_tensor(pa.uint8(), shape, **axes)
    return pa.ExtensionArray.from_storage(kind, TENSORS.storage)


HWC = (4, 4, 3)
LESS = [*LABELS[:-1], -1]
REFUSED: dict[str, tuple[list[pa.Table], Description, str]] = {
    "raw bytes without a shape": ([table()], Description(), "does not say what shape.*--shape"),
    "lists without a shape": ([table(LISTS)], Description(), "does not say what shape.*--shape"),
    "axes in another order": (
        [table(tensors(permutation=[1, 2, 0]))], SHAPED, "axes are not channels, height.*Rewrite",
    ),
    "axes of another name": (
        [table(tensors(HWC, dim_names=["H", "W", "C"]))], SHAPED, "axes are not channels, height",
    ),
    "channels last": ([table(tensors(HWC))], Description(), "cannot be images of 4×4×3.*--shape"),
    "channels last, described": ([table(tensors(HWC))], SHAPED, "cannot be .*the channels first"),
    "two channels": ([table()], Description(shape=(2, 6, 4)), "cannot be images of 2×6×4"),
    "another shape": ([table()], Description(shape=(1, 4, 4)), "cannot be images of 1×4×4"),
    "a shape of two sides": ([table()], Description(shape=(12, 4)), "cannot be images of 12×4"),
    "no images": ([table(pa.array(["text"] * COUNT))], Description(), "one column of images"),
    "no image files": (
        [table(pa.array([b"text"] * COUNT))],
        Description(),
        r"column 'image' of \S+/lake/0\.parquet: no image of a known format.*--column",
    ),
    "no such column": ([table()], Description(column="picture"), "'picture' holds no images"),
    "no such label": ([table()], Description(label="kind"), "there is no column 'kind'"),
    "labels with a point": ([table(label=LABELS / 2)], SHAPED, r"label \(double\).*data import"),
    "labels in words": ([table(label=["a"] * COUNT)], SHAPED, "'label' holds no integer labels"),
    "labels below zero": ([table(label=LESS)], SHAPED, "'label' holds -1 … 2; labels are 0 … 9999"),
    "an id as the label": ([table(label=LABELS * 10**6)], SHAPED, "holds 0 … 2000000"),
    "other names": (
        [hugging_face(), hugging_face(names=CLASSES[::-1])], Description(), "do not agree on",
    ),
    "another type": (
        [table(), table(label=LABELS.astype("int32"))], SHAPED, r"1\.parquet is int32, and int64",
    ),
    "a column less": (
        [table(), table().select(["image"])], SHAPED, r"'label' of \S+/1\.parquet is missing",
    ),
    "own, of another layout": (
        [own(), own((1, 12, 4))], Description(), r"1\.parquet holds records of",
    ),
    "own, renamed": (
        [own(column="picture")], Description(), "'image' of .*missing",
    ),
    "no rows": ([table()[:0]], SHAPED, "hold no record"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_adopted_is_refused_by_its_name(
    case: str, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    tables, description, said = REFUSED[case]
    for number, content in enumerate(tables):
        write(tmp_path / "lake" / f"{number}.parquet", content)

    with pytest.raises(ImportRefused, match=said):
        adopted(tmp_path / "lake", description)
    assert not (tmp_path / "datasets").exists()


def test_a_column_that_is_there_twice_is_refused(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    twice = pa.Table.from_arrays([RAW, *2 * [pa.array(LABELS)]], ["image", "label", "label"])
    with pytest.raises(ImportRefused, match=r"a\.parquet: two of its columns have one name"):
        adopted(write(tmp_path / "lake" / "a.parquet", twice))


def test_classes_are_counted_where_there_are_no_statistics(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table(label=LABELS % 2))
    write(folder / "b.parquet", table(), write_statistics=False)

    assert adopted(folder).manifest.layout.labels == ("0", "1", "2")


@pytest.mark.parametrize("labels", [LABELS + 1, LESS])
def test_labels_that_have_no_name_are_found_when_they_are_read(
    labels: Any, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    content = table(STRUCTS, labels).replace_schema_metadata(hugging_face().schema.metadata)
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", content), Description())

    with pytest.raises(ShardCorrupt, match=r"a\.parquet: row group \d, .*column 'label': labels"):
        streamed(dataset)
    assert verify(dataset) != []


def test_a_null_that_no_footer_shows_is_found_when_it_is_read(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table(label=[None, *LABELS[1:].tolist()]))
    said = r"lake/a\.parquet: row group 0: column 'label' holds a null"

    with pytest.raises(ImportRefused, match=f"{said}.*Mend the file.*data import parquet"):
        adopted(folder)
    with pytest.raises(ShardCorrupt, match=said):
        streamed(adopted(folder, Description(shape=SHAPE, classes=CLASSES)))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and so on", b"x" * 99 + b"PAR1"])
def test_a_file_that_only_is_called_so_is_named(
    content: bytes, tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    (folder / "b.parquet").write_bytes(content)

    with pytest.raises(ImportRefused, match=r"footer of \S+/lake/b\.parquet: .*move it out"):
        adopted(folder)


def test_a_place_without_files_is_refused_at_once(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    file = write(tmp_path / "lake" / "a.parquet", table()) / "a.parquet"
    (tmp_path / "empty").mkdir()
    cases = {
        str(tmp_path / "missing"): "missing is no folder",
        (tmp_path / "missing").as_uri(): "missing is no folder",
        str(file): r"a\.parquet is no folder",
        file.as_uri(): r"a\.parquet is no folder",
        str(tmp_path / "empty"): r"no Parquet or Arrow IPC file in \S+/empty.*\.feather",
    }
    for source, said in cases.items():
        with pytest.raises(ImportRefused, match=said):
            adopted(source)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hunter2@bucket/lake",
        "s3://key:hun/ter2@bucket/lake?region=eu-west-1",
        "s3://bucket/lake?region=eu-west-1&secret_key=hunter2",
        "abfss://box@account.dfs.core.windows.net/lake?tenant_id=t&client_secret=hunter2",
        "abfss://box@account.dfs.core.windows.net/lake?sv=2024&sig=hunter2",
        "gs://bucket/lake?hunter2",
    ],
)
def test_credentials_are_neither_kept_nor_shown(uri: str, adopted: Callable[..., Dataset]) -> None:
    with pytest.raises(ImportRefused, match="AWS_SECRET_ACCESS_KEY") as error:
        adopted(uri)
    assert "ter2" not in str(error.value)
    assert "secret_key" not in str(error.value)


def test_a_scheme_that_nobody_knows_is_refused(adopted: Callable[..., Dataset]) -> None:
    with pytest.raises(StorageUnavailable, match=r"cannot use gopher://bucket/lake.*s3://"):
        adopted("gopher://bucket/lake")


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "../up", "x" * 41])
def test_a_name_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="cannot be a dataset's name"):
        adopt(tmp_path / "datasets", str(tmp_path), name)


def test_a_version_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table())
    one, _ = adopt(tmp_path / "one", str(folder), "lake", SHAPED)
    two, _ = adopt(tmp_path / "two", os.path.relpath(folder), "lake", SHAPED)

    assert (one.reference, one.manifest.digest) == (two.reference, two.manifest.digest)


def test_a_value_that_is_no_image_has_its_own_number_whichever_rows_are_wanted(
    tmp_path: Path, adopted: Callable[..., Dataset]
) -> None:
    files = [*PNG]
    files[5] = b"no image"
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", table(pa.array(files))), SHAPED)
    (shard,) = dataset.manifest.shards
    group = OpenShards(dataset.location, dataset.manifest, 1).row_group(shard, 0)

    assert sum(len(records.stored) for records in group.records(np.array([1, 4, 7]))) == 3
    with pytest.raises(ShardCorrupt, match=r"row group 0, rows from 0 on: .*value 5: no image"):
        list(group.records(np.array([1, 5, 7])))


def test_each_image_file_is_decoded_by_one_worker_alone(
    tmp_path: Path, adopted: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few of a row group's records a worker has."""
    dataset = adopted(write(tmp_path / "lake" / "a.parquet", table(pa.array(PNG))), SHAPED)
    decoded = list[int]()
    monkeypatch.setattr(image, "read_image", lambda file: decoded.append(1) or read_image(file))
    for rank in range(4):
        stream = Stream(dataset, "train", 8, 0, rank, 4, window=16)
        list(itertools.islice(stream.batches(), 5))

    # An epoch, and of the next one what is read ahead.
    assert 40 <= len(decoded) <= 60


@pytest.mark.parametrize(
    ("content", "shape", "said"),
    [
        (PNG, (3, 4, 5), "cannot be images of 3×4×5"),
        ([b"0" * 48] * COUNT, SHAPE, "raw pixels in a column of binary are imported"),
    ],
)
def test_a_shape_that_is_given_must_be_that_of_the_image_files(
    content: list[bytes],
    shape: tuple[int, ...],
    said: str,
    tmp_path: Path,
    adopted: Callable[..., Dataset],
) -> None:
    folder = write(tmp_path / "lake" / "a.parquet", table(pa.array(content, pa.binary())))
    with pytest.raises(ImportRefused, match=said):
        adopted(folder, Description(shape=shape))


def test_no_location_is_not_this_folder(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="the location is empty"):
        adopt(tmp_path, "", "lake")
