"""Columns of Parquet, CSV and JSON lines, datasets of Hugging Face on disk, and text files."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc.data.catalog import Dataset
from aigc.data.cleaning import Rejected
from aigc.data.importers import Options, documents, folders, import_dataset, plan_import, tables
from aigc.data.importers.tables import label_of
from aigc.errors import ImportRefused
from aigc.modalities.text import texts

COUNT = 12


def quarantined(dataset: Dataset) -> list[dict[str, Any]]:
    parts = sorted((dataset.folder / "quarantine").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def images(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def imported(tmp_path: Path, kind: str, path: Path, **options: Any) -> Dataset:
    return import_dataset(tmp_path / "datasets", kind, "made", path, Options(**options))[0]


def by_content(dataset: Dataset) -> dict[bytes, str | None]:
    """The label of each record, by its bytes."""
    found = dict[bytes, str | None]()
    names = dataset.manifest.layout.labels
    for split in dataset.manifest.splits:
        records = dataset.records(split)
        labels = [None] * len(records.stored) if records.labels is None else records.labels.tolist()
        for stored, label in zip(records.stored, labels, strict=True):
            found[stored.numpy().tobytes()] = None if label is None else names[label]
    return found


EXPECTED = {image.tobytes(): "ab"[row % 2] for row, image in enumerate(images())}
LABELS = ["ab"[row % 2] for row in range(COUNT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "files").mkdir(parents=True)
    for row, image in enumerate(images()):
        (path / "files" / f"{row}.png").write_bytes(png(image))
    return path


PATHS = [f"files/{row}.png" for row in range(COUNT)]
FILES = [png(image) for image in images()]
STRUCTS = [{"bytes": file, "path": None} for file in FILES]
COLUMNS = {
    "bytes": pa.array(FILES, pa.binary()),
    "large": pa.array(FILES, pa.large_binary()),
    "struct": pa.array(STRUCTS, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    "by path": pa.array([{"bytes": None, "path": path} for path in PATHS]),
    "path": pa.array(PATHS),
    "flat": pa.array([image.flatten().tolist() for image in images()], pa.list_(pa.uint8())),
    "fixed": pa.FixedSizeListArray.from_arrays(pa.array(images().flatten(), pa.uint8()), 16),
    "nested": pa.array([image.tolist() for image in images()]),
    "raw": pa.array([image.tobytes() for image in images()], pa.binary(16)),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(images()),
    "floats": pa.array([image.flatten().astype(float).tolist() for image in images()]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_parquet_column_may_hold_images_in_many_ways(
    name: str, folder: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": COLUMNS[name], "y": LABELS}), folder / "t.parquet")
    options = {"column": "x", "label": "y", "shape": (1, 4, 4)}
    dataset = imported(tmp_path, "parquet", folder / "t.parquet", **options)

    assert by_content(dataset) == EXPECTED
    assert quarantined(dataset) == []


def test_without_a_shape_the_first_image_has_it_and_a_flat_list_has_none(
    folder: Path, tmp_path: Path
) -> None:
    pq.write_table(
        pa.table({"x": COLUMNS["nested"], "flat": COLUMNS["flat"]}), folder / "t.parquet"
    )

    assert imported(tmp_path, "parquet", folder, column="x").manifest.layout.shape == (1, 4, 4)
    with pytest.raises(ImportRefused, match=r"t\.parquet:0.*--shape"):
        imported(tmp_path, "parquet", folder, column="flat")


def test_row_groups_are_parts_and_rows_are_counted_through_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [None if row == 7 else file for row, file in enumerate(FILES)]
    table = pa.table({"x": pa.array(cells, pa.binary()), "y": LABELS})
    pq.write_table(table, folder / "t.parquet", row_group_size=3)
    options = {"column": "x", "label": "y"}
    assert len(plan_import("parquet", "made", folder, Options(**options)).parts) == 1
    monkeypatch.setattr(tables, "PART_BYTES", 1)
    assert len(plan_import("parquet", "made", folder, Options(**options)).parts) == 4
    (rejected,) = quarantined(imported(tmp_path, "parquet", folder, **options))

    assert (rejected["origin"], rejected["reason"]) == ("t.parquet:7", "undecodable")


@pytest.mark.parametrize(
    "options",
    [{"compression": "none", "write_page_checksum": True}, {"compression": "gzip"}],
    ids=["checksum", "gzip"],
)
def test_a_damaged_row_group_is_lost_with_all_its_rows_and_the_next_is_read(
    options: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    path = folder / "t.parquet"
    table = pa.table({"x": COLUMNS["raw"], "y": LABELS})
    pq.write_table(table, path, row_group_size=3, use_dictionary=False, **options)
    column, content = pq.read_metadata(path).row_group(1).column(0), bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 6] ^= 1
    path.write_bytes(content)
    dataset = imported(tmp_path, "parquet", path, column="x", label="y", shape=(1, 4, 4))

    assert set(by_content(dataset)) == {
        image.tobytes() for image in np.delete(images(), [3, 4, 5], 0)
    }
    assert dataset.manifest.source["cleaning"]["read"] == COUNT
    assert dataset.manifest.source["cleaning"]["rejected"] == {"unreadable": 3}
    (row,) = quarantined(dataset)
    assert row["origin"] == "t.parquet:3"
    assert row["detail"].startswith("records lost: 3; ")


def write_csv(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_csv_names_images_beside_it(folder: Path, tmp_path: Path) -> None:
    rows = [
        [path, "a comma, and\na line", label] for path, label in zip(PATHS, LABELS, strict=True)
    ]
    write_csv(folder / "t.csv", [["image", "note", "class"], *rows])

    assert by_content(imported(tmp_path, "csv", folder, column="image", label="class")) == EXPECTED


def test_json_lines_name_images_or_hold_numbers(folder: Path, tmp_path: Path) -> None:
    lines = [{"image": path, "class": label} for path, label in zip(PATHS, LABELS, strict=True)]
    for row, image in enumerate(images()[:5]):
        lines[row]["image"] = image.flatten().tolist()
    (folder / "t.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    options = {"column": "image", "label": "class", "shape": (1, 4, 4)}

    assert by_content(imported(tmp_path, "jsonl", folder, **options)) == EXPECTED


def test_ranges_of_json_lines_have_each_line_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"text": f"line {row} " + "é" * (row % 7)}) for row in range(40)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    whole = imported(tmp_path, "jsonl", folder, column="text", length=32)
    for size in (1, 10, 37, 41, 64):
        monkeypatch.setattr(folders.ranges, "__defaults__", (size,))
        cut = imported(tmp_path / str(size), "jsonl", folder, column="text", length=32)
        assert by_content(cut) == by_content(whole)
        assert sum(cut.manifest.splits.values()) == 40


def test_a_broken_row_is_rejected_where_it_stands(folder: Path, tmp_path: Path) -> None:
    hostile = ["../outside.png", "/etc/passwd", "files/none.png", "", "files", "files/\0.png"]
    (tmp_path / "outside.png").write_bytes(FILES[0])
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    write_csv(folder / "t.csv", [["image"], *([path] for path in [*PATHS, *hostile, "link.png"])])
    dataset = imported(tmp_path, "csv", folder, column="image")

    assert set(by_content(dataset)) == set(EXPECTED)
    assert [row["origin"] for row in quarantined(dataset)] == [f"t.csv:{12 + n}" for n in range(7)]
    assert {row["reason"] for row in quarantined(dataset)} == {"unreadable"}
    details = [row["detail"] for row in quarantined(dataset)]
    assert [("leaves the folder" in detail) for detail in details] == [
        True,
        True,
        *[False] * 4,
        True,
    ]


def test_lines_that_are_no_rows_are_rejected(folder: Path, tmp_path: Path) -> None:
    broken = ["{", "[]", '{"image": null}', "{}", "[" * 100_000, '"x"', '{"image": {"a": 1}}']
    good = [json.dumps({"image": path}) for path in PATHS]
    (folder / "t.jsonl").write_text("\n".join([*broken, *good]))
    (folder / "u.jsonl").write_bytes(b'{"image": "\xff"}\n{"image": "\\ud800"}')
    dataset = imported(tmp_path, "jsonl", folder, column="image")

    assert set(by_content(dataset)) == set(EXPECTED)
    assert len(quarantined(dataset)) == len(broken) + 2


def test_what_an_unclosed_quote_swallows_is_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text('label,image\na,files/0.png\n"b,files/1.png\n' + "b,x\n" * 20)
    dataset = imported(tmp_path, "csv", folder, column="image", label="label")

    assert dataset.manifest.source["cleaning"]["rejected"] == {"undecodable": 21}
    assert "it spans 21 lines: is a quote never closed?" in quarantined(dataset)[0]["detail"]


def test_a_short_row_of_csv_is_rejected(folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text("label,image\na,files/0.png\nb\nb,files/1.png,x\nb,files/2.png\n")
    dataset = imported(tmp_path, "csv", folder, column="image", label="label")

    assert [(row["origin"], row["detail"]) for row in quarantined(dataset)] == [
        ("t.csv:1", "the row has 1 cells, the header 2"),
        ("t.csv:2", "the row has 3 cells, the header 2"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "the line is no JSON: Expecting property name"),
        ("[]", "the line is no JSON object"),
        ('{"picture": "x"}', "the line has no key 'image'"),
        ('{"image": null}', "the cell is empty"),
    ],
)
def test_a_rejected_line_says_what_it_is(
    line: str, said: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "t.jsonl").write_text(f'{line}\n{{"image": "files/0.png"}}')
    (row,) = quarantined(imported(tmp_path, "jsonl", folder, column="image"))

    assert (row["origin"], row["reason"]) == ("t.jsonl:0", "undecodable")
    assert row["detail"].startswith(said)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (1, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        (True, "True"),
        ("1.0", "1.0"),
        (b"cat", "cat"),
        ("", None),
        (b"", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_cell_is_the_name_of_a_class(cell: object, name: str | None) -> None:
    assert label_of(cell) == name


@pytest.mark.parametrize("cell", [[1], {"a": 1}, b"caf\xe9", "caf\udce9"])
def test_what_cannot_be_a_name_is_no_label(cell: object) -> None:
    rejected = label_of(cell)

    assert isinstance(rejected, Rejected)
    assert rejected.reason == "no label"
    assert rejected.detail.isascii()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("t.csv", b"image,class\nfiles/0.png,a\nfiles/1.png,caf\xe9\n"),
        (
            "t.jsonl",
            b'{"image": "files/0.png", "class": "a"}\n{"image": "files/1.png", "class": "\\ud800"}',
        ),
    ],
)
def test_a_label_that_is_no_text_is_rejected_with_its_record(
    file: str, content: bytes, folder: Path, tmp_path: Path
) -> None:
    (folder / file).write_bytes(content)
    dataset = imported(
        tmp_path, file.removeprefix("t."), folder / file, column="image", label="class"
    )
    (row,) = quarantined(dataset)

    assert dataset.manifest.layout.labels == ("a",)
    assert (row["reason"], row["raw"]) == ("no label", FILES[1])
    assert "is no UTF-8" in row["detail"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "text"])
@pytest.mark.timeout(60)
def test_a_pipe_is_reported_and_never_opened(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    pq.write_table(pa.table({"x": ["hello"]}), source / "a.parquet")
    for file, content in (("csv", "x\nhello"), ("jsonl", '{"x": "hello"}'), ("text", "hello")):
        (source / f"a.{file}").write_text(content)
    os.mkfifo(source / f"b.{kind}")
    column = {} if kind == "text" else {"column": "x"}
    dataset = imported(tmp_path, kind, source, length=8, **column)

    assert b"hello\0\0\0" in by_content(dataset)
    assert (f"b.{kind}", "unreadable", "it is no regular file") in [
        (row["origin"], row["reason"], row["detail"]) for row in quarantined(dataset)
    ]


def test_a_column_that_is_there_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    write_csv(folder / "t.csv", [["image", "image"], PATHS[:2]])
    with pytest.raises(ImportRefused, match=r"t\.csv has 2 columns 'image'"):
        imported(tmp_path, "csv", folder, column="image")


def test_a_row_without_a_class_has_no_label(folder: Path, tmp_path: Path) -> None:
    labels = [None if row == 3 else row % 2 for row in range(COUNT)]
    pq.write_table(pa.table({"x": COLUMNS["bytes"], "y": labels}), folder / "t.parquet")
    dataset = imported(tmp_path, "parquet", folder, column="x", label="y")

    assert dataset.manifest.layout.labels == ("0", "1")
    assert [(row["origin"], row["reason"]) for row in quarantined(dataset)] == [
        ("t.parquet:3", "no label")
    ]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100])
def test_a_broken_file_beside_whole_ones_is_reported(
    content: bytes, folder: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": COLUMNS["bytes"]}), folder / "a.parquet")
    (folder / "b.parquet").write_bytes(content)
    dataset = imported(tmp_path, "parquet", folder, column="x")

    assert len(by_content(dataset)) == COUNT
    assert [(row["origin"], row["reason"]) for row in quarantined(dataset)] == [
        ("b.parquet", "unreadable")
    ]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_table_needs_a_column_and_a_file(kind: str, folder: Path) -> None:
    with pytest.raises(ImportRefused, match=f"no {kind} file"):
        plan_import(kind, "made", folder, Options(column="x"))
    (folder / f"t.{kind}").write_text("image\n")
    with pytest.raises(ImportRefused, match="--column"):
        plan_import(kind, "made", folder)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_column_that_is_not_there_is_answered_by_those_that_are(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    write_csv(folder / "t.csv", [["image", "class"], ["files/0.png", "a"]])
    pq.write_table(pa.table({"image": FILES, "class": LABELS}), folder / "t.parquet")

    with pytest.raises(ImportRefused, match=rf"t\.{kind} has no column 'picture'.*image, class"):
        imported(tmp_path, kind, folder, column="picture")


def test_a_column_of_text_is_cut_into_records(folder: Path, tmp_path: Path) -> None:
    table = pa.table({"x": ["one two three four", "five", None, " \n"], "y": ["a", "b", "a", "b"]})
    pq.write_table(table, folder / "t.parquet")
    dataset = imported(tmp_path, "parquet", folder, column="x", label="y", length=8)

    assert dataset.manifest.columns == {"text": "fixed_size_binary[8]", "label": "int32"}
    assert {key.rstrip(b"\0"): label for key, label in by_content(dataset).items()} == {
        b"one two ": "a",
        b"three fo": "a",
        b"ur": "a",
        b"five": "b",
    }
    assert [(row["origin"], row["reason"]) for row in quarantined(dataset)] == [
        ("t.parquet:2", "undecodable"),
        ("t.parquet:3:0", "blank"),
    ]


IMAGE = {"_type": "Image"}
CLASS = {"_type": "ClassLabel", "names": ["dog", "cat"]}


def save(folder: Path, rows: slice, features: dict[str, Any], files: int = 2) -> None:
    """What `datasets.Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    table = pa.table(
        {"image": STRUCTS[rows], "label": [row % 2 for row in range(COUNT)][rows]},
        schema=pa.schema([("image", COLUMNS["struct"].type), ("label", pa.int64())]),
    )
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    step = -(-table.num_rows // files)
    for number, name in enumerate(names):
        part = table.slice(number * step, step)
        with (
            pa.OSFile(str(folder / name), "wb") as file,
            pa.ipc.new_stream(file, part.schema) as at,
        ):
            at.write_table(part)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A dataset on disk of two splits."""
    folder = tmp_path / "saved"
    for split, rows in (("train", slice(0, 9)), ("test", slice(9, COUNT))):
        save(folder / split, rows, {"image": IMAGE, "label": CLASS})
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return folder


NAMED = {image.tobytes(): ("dog", "cat")[row % 2] for row, image in enumerate(images())}


def test_a_dataset_on_disk_has_its_splits_joined_and_its_classes_named(
    saved: Path, tmp_path: Path
) -> None:
    dataset = imported(tmp_path, "huggingface", saved)

    assert by_content(dataset) == NAMED
    assert dataset.manifest.layout.labels == ("dog", "cat")


def test_one_split_on_disk_is_a_dataset(saved: Path, tmp_path: Path) -> None:
    assert len(by_content(imported(tmp_path, "huggingface", saved / "train"))) == 9


def test_a_dataset_on_disk_may_be_text(tmp_path: Path) -> None:
    folder, table = tmp_path / "saved", pa.table({"text": ["hello", "world"]})
    save(folder, slice(0, 0), {"text": {"_type": "Value", "dtype": "string"}}, files=1)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table)
    dataset = imported(tmp_path, "huggingface", folder, length=8)

    assert {key.rstrip(b"\0") for key in by_content(dataset)} == {b"hello", b"world"}


def test_a_truncated_stream_ends_its_part(saved: Path, tmp_path: Path) -> None:
    path = saved / "train" / "data-00001-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:-300])
    dataset = imported(tmp_path, "huggingface", saved)

    assert 8 <= len(by_content(dataset)) < COUNT
    assert [(row["origin"], row["reason"]) for row in quarantined(dataset)] == [
        ("train/data-00001-of-00002.arrow", "unreadable")
    ]


def write_batches(path: Path, batches: list[pa.RecordBatch]) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as stream:
        for batch in batches:
            stream.write_batch(batch)


def test_a_batch_with_an_offset_that_points_elsewhere_is_rejected_whole(
    saved: Path, tmp_path: Path
) -> None:
    path = saved / "train" / "data-00000-of-00002.arrow"
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
        whole = stream.read_all().combine_chunks().to_batches()[0]
    content = b"".join(FILES[:3])
    offsets = np.array([0, 7, -9, len(content)], np.int32)
    files = pa.BinaryArray.from_buffers(
        pa.binary(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )
    structs = pa.StructArray.from_arrays([files, pa.nulls(3, pa.string())], ["bytes", "path"])
    damaged = pa.record_batch([structs, pa.array([0, 1, 0])], schema=whole.schema)
    write_batches(path, [damaged, whole])
    dataset = imported(tmp_path, "huggingface", saved)

    assert by_content(dataset) == NAMED
    assert dataset.manifest.source["cleaning"]["rejected"] == {"unreadable": 3}
    assert quarantined(dataset)[0]["origin"] == "train/data-00000-of-00002.arrow:0"


@pytest.mark.parametrize(
    "labels",
    [
        [["dog", "cat"][row % 2] for row in range(COUNT)],
        [float(row % 2) for row in range(COUNT)],
        [bool(row % 2) for row in range(COUNT)],
    ],
    ids=["names", "floats", "booleans"],
)
def test_classes_may_be_stored_as_names_or_floats(
    labels: list[object], saved: Path, tmp_path: Path
) -> None:
    table = pa.table({"image": COLUMNS["struct"], "label": labels})
    write_batches(saved / "train" / "data-00000-of-00002.arrow", table.to_batches())
    dataset = imported(tmp_path, "huggingface", saved / "train")

    assert by_content(dataset) == NAMED


def test_a_label_that_is_none_of_the_classes_is_no_label(saved: Path, tmp_path: Path) -> None:
    table = pa.table({"image": COLUMNS["struct"].slice(0, 4), "label": [0.0, 0.5, float("nan"), 2]})
    write_batches(saved / "test" / "data-00000-of-00002.arrow", table.to_batches())
    (saved / "test" / "data-00001-of-00002.arrow").unlink()
    dataset = imported(tmp_path, "huggingface", saved / "test")

    assert dataset.manifest.source["cleaning"]["rejected"] == {"unreadable": 1, "no label": 3}


def test_a_feature_that_is_not_in_the_file_is_refused(saved: Path, tmp_path: Path) -> None:
    table = pa.table({"picture": COLUMNS["struct"], "label": [0] * COUNT})
    write_batches(saved / "train" / "data-00001-of-00002.arrow", table.to_batches())

    with pytest.raises(ImportRefused, match=r"arrow has no column 'image'.*picture, label"):
        imported(tmp_path, "huggingface", saved)


@pytest.mark.timeout(60)
def test_pipes_in_a_dataset_on_disk_are_never_opened(saved: Path, tmp_path: Path) -> None:
    for path in (saved / "train" / "data-00000-of-00002.arrow", saved / "test" / "state.json"):
        path.unlink()
        os.mkfifo(path)

    assert quarantined(imported(tmp_path, "huggingface", saved / "train"))[0]["detail"] == (
        "it is no regular file"
    )
    with pytest.raises(ImportRefused, match=r"state\.json: unreadable: it is no regular file"):
        plan_import("huggingface", "made", saved)


def features(key: str, value: object) -> str:
    """A description whose classes have something else under a key."""
    return json.dumps({"features": {"image": IMAGE, "label": {**CLASS, key: value}}})


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("dataset_dict.json", "{", "cannot read"),
        ("dataset_dict.json", "[]", "no JSON object"),
        ("dataset_dict.json", '{"splits": []}', "names no splits"),
        ("dataset_dict.json", '{"splits": ["../.."]}', "nothing that lies in it"),
        (
            "train/state.json",
            '{"_data_files": [{"filename": "/etc/passwd"}]}',
            "nothing that lies in it",
        ),
        ("train/state.json", '{"_data_files": [{"filename": ".."}]}', "nothing that lies in it"),
        ("train/state.json", '{"_data_files": [{}]}', "nothing that lies in it"),
        ("train/state.json", '{"_data_files": ["data.arrow"]}', "nothing that lies in it"),
        (
            "train/state.json",
            '{"_data_files": [{"filename": "\\ud800"}]}',
            "nothing that lies in it",
        ),
        ("train/state.json", '{"_data_files": {"filename": "x"}}', "'_data_files' is a dict"),
        ("train/dataset_info.json", '{"features": ["image"]}', "'features' is a list, not a dict"),
        ("train/dataset_info.json", features("names", "dog"), "no names that differ"),
        ("train/dataset_info.json", features("names", ["dog", "dog"]), "no names that differ"),
        ("train/dataset_info.json", features("names", ["dog", "\ud800"]), "no names that differ"),
        ("train/dataset_info.json", '{"features": {"a": {"_type": "Value"}}}', "--column"),
        ("train/dataset_info.json", "{}", "--column"),
    ],
)
def test_a_hostile_description_is_refused(file: str, content: str, said: str, saved: Path) -> None:
    (saved / file).write_text(content)
    with pytest.raises(ImportRefused, match=said):
        plan_import("huggingface", "made", saved)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_text_files_are_cut_into_records(tmp_path: Path) -> None:
    source = write(
        tmp_path / "texts",
        {"a.txt": "häuser am see".encode(), "b/c.md": b"\xef\xbb\xbfmarked", "d.txt": b"\r\n \t"},
    )
    dataset = imported(tmp_path, "text", source, length=8)
    found = {
        text for split in dataset.manifest.splits for text in texts(dataset.records(split).stored)
    }

    assert dataset.manifest.layout.shape == (8,)
    assert found == {"häuser ", "am see", "marked"}
    assert [(row["origin"], row["reason"]) for row in quarantined(dataset)] == [
        ("d.txt:0", "blank")
    ]


def test_text_that_is_none_is_rejected_record_by_record(tmp_path: Path) -> None:
    files = {
        "a.txt": b"good one" + b"bad \xff b" + b"good two",
        "b.bin": bytes(range(32)) * 2,
        "c.txt": b"",
        "d.txt": b"\x80" * 20,
    }
    dataset = imported(tmp_path, "text", write(tmp_path / "texts", files), length=8)
    reasons = [(row["origin"], row["reason"]) for row in quarantined(dataset)]

    assert sum(dataset.manifest.splits.values()) == 2 + 3
    assert ("a.txt:8", "undecodable") in reasons
    assert ("c.txt:0", "blank") in reasons
    assert reasons.count(("b.bin:0", "undecodable")) == 1
    assert [origin for origin, _ in reasons if origin.startswith("d")] == [
        "d.txt:0",
        "d.txt:8",
        "d.txt:16",
    ]


@pytest.mark.parametrize("size", [16, 17, 18, 19, 100])
def test_a_long_file_is_read_in_ranges_that_cut_no_character(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_BYTES", size)
    text = "".join(f"{number} größer 日本語 🎲 " for number in range(60))
    source = write(tmp_path / "texts", {"a.txt": text.encode()})
    assert len(plan_import("text", "made", source).parts) == -(-len(text.encode()) // size)
    dataset = imported(tmp_path, "text", source, length=12)
    read = [
        text for split in dataset.manifest.splits for text in texts(dataset.records(split).stored)
    ]
    rejected = quarantined(dataset)

    assert {row["reason"] for row in rejected} <= {"duplicate", "blank"}
    assert sum(map(len, map(str.encode, read))) + sum(
        len(row["raw"].rstrip(b"\0")) for row in rejected
    ) == len(text.encode())
    assert all(part in text for part in read)


def test_nearly_equal_texts_are_flagged(tmp_path: Path) -> None:
    words = np.random.default_rng(0).choice(["lorem", "ipsum", "dolor", "sit", "amet"], 200)
    text = " ".join(words).encode()[:1000]
    source = write(tmp_path / "texts", {"a.txt": text, "b.txt": text[:500] + b"#" + text[501:]})
    dataset = imported(tmp_path, "text", source)
    (pair,) = pq.read_table(dataset.folder / "near-duplicates.parquet").to_pylist()

    assert (pair["first"], pair["second"]) == ("a.txt:0", "b.txt:0")
