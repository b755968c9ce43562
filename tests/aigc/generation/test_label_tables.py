"""A generated table says in its schema and in each row what it is, in Parquet as in Arrow."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aigc.data.shards import write_shard
from aigc.errors import LabelMalformed, Unlabelled
from aigc.generation.labels.label import Label
from aigc.generation.labels.tables import LABEL_FIELD, label_table, table_label

LABEL = Label.of_dataset("Exämple & Co", "digits-nightly@f750d6018c20")
SAMPLES = range(200, 230)
TABLE = pa.Table.from_arrays(
    [
        pa.array([bytes([sample]) * 4 for sample in SAMPLES], pa.binary(4)),
        pa.array(SAMPLES, pa.int64()),
    ],
    schema=pa.schema(
        [pa.field("image", pa.binary(4), nullable=False), pa.field("sample", pa.int64())],
        metadata={"layout": "{}"},
    ),
)
LABELLED = label_table(TABLE, LABEL)


def with_labels(labels: pa.Array) -> pa.Table:
    place = LABELLED.schema.get_field_index("AIGC")
    return LABELLED.set_column(place, pa.field("AIGC", labels.type), labels)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_label_survives_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"shard.{suffix}"
    if suffix == "parquet":
        write_shard(tmp_path, path.name, "generated", LABELLED)
        read = pq.read_table(path)
    else:
        with pa.ipc.new_file(path, LABELLED.schema) as file:
            file.write_table(LABELLED)
        read = pa.ipc.open_file(path).read_all()

    assert table_label(read) == LABEL
    assert read.drop_columns("AIGC").equals(TABLE)


def test_a_label_is_found_in_two_columns_alone(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard.parquet", "generated", LABELLED)

    assert (
        table_label(pq.read_table(tmp_path / "shard.parquet", columns=["sample", "AIGC"])) == LABEL
    )


def test_schema_and_rows_hold_the_object_of_the_standard() -> None:
    metadata = json.loads(LABELLED.schema.metadata[b"AIGC"])
    row = json.loads(LABELLED.column("AIGC")[7].as_py())

    assert metadata == {"AIGC": LABEL.model_dump(by_alias=True)}
    assert row == metadata["AIGC"] | {"ProduceID": "digits-nightly@f750d6018c20/207"}
    assert LABELLED.schema.metadata[b"layout"] == b"{}"
    assert LABELLED.schema.field("AIGC").equals(LABEL_FIELD)


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        LABELLED.drop_columns("AIGC"),
        LABELLED.drop_columns("sample"),
        LABELLED.replace_schema_metadata({}),
        LABELLED.append_column(LABEL_FIELD, LABELLED.column("AIGC")),
        with_labels(pa.nulls(len(SAMPLES), pa.string())),
        with_labels(pa.array([""] * len(SAMPLES))),
    ],
)
def test_a_table_without_a_label_says_so(table: pa.Table) -> None:
    with pytest.raises(Unlabelled):
        table_label(table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (LABELLED.replace_schema_metadata({"AIGC": "{}"}), "no label"),
        (LABELLED.replace_schema_metadata({"AIGC": '{"AIGC":{}}'}), "GB 45438-2025"),
        (LABELLED.replace_schema_metadata({"AIGC": b'{"AIGC":\xff}'}), "GB 45438-2025"),
        (with_labels(pa.array(["{}"] * len(SAMPLES))), "GB 45438-2025"),
        (with_labels(pa.array(range(1, 31))), "GB 45438-2025"),
        (with_labels(pc.take(LABELLED.column("AIGC"), [1, 0, *range(2, 30)])), "of sample 200 is"),
    ],
)
def test_what_is_no_label_or_that_of_something_else_is_named(table: pa.Table, words: str) -> None:
    with pytest.raises(LabelMalformed, match=words):
        table_label(table)
