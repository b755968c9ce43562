from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aigc.data.catalog import Dataset, find, list_datasets
from aigc.data.importers import import_dataset
from aigc.data.manifest import read_manifest
from aigc.data.verification import verify
from aigc.errors import DatasetNotFound, ImportRefused, ManifestInvalid, ShardCorrupt


@pytest.fixture
def copy(digits: Dataset, tmp_path: Path) -> Dataset:
    folder = tmp_path / "datasets" / "digits" / digits.manifest.version
    shutil.copytree(digits.folder, folder)
    return Dataset(folder, digits.manifest)


def test_an_import_describes_itself(digits: Dataset) -> None:
    manifest = digits.manifest

    assert sum(manifest.splits.values()) == 1797
    assert list(manifest.splits) == ["train", "validation", "test"]
    assert manifest.source["cleaning"]["rejected"] == {}
    assert manifest.layout.shape == (1, 8, 8)
    assert manifest.layout.labels == tuple("0123456789")
    assert manifest.columns == {"image": "fixed_size_binary[64]", "label": "int32"}
    assert verify(digits) == []


def test_importing_again_is_the_same_dataset(tmp_path: Path) -> None:
    one, made = import_dataset(tmp_path, "digits")
    before = {path: path.stat().st_mtime_ns for path in one.folder.rglob("*")}
    two, made_again = import_dataset(tmp_path, "digits")

    assert (made, made_again) == (True, False)
    assert two.manifest == one.manifest
    assert {path: path.stat().st_mtime_ns for path in one.folder.rglob("*")} == before


def test_two_imports_elsewhere_have_the_same_bytes(digits: Dataset, tmp_path: Path) -> None:
    other, _ = import_dataset(tmp_path, "digits", name="numbers")

    assert other.manifest.digest == digits.manifest.digest


def test_an_unknown_importer_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"'mnist'.*digits, mnist-5k, idx, images"):
        import_dataset(tmp_path, "mnist")


def test_a_missing_dataset_is_answered_by_what_there_is(datasets: Path) -> None:
    with pytest.raises(DatasetNotFound, match=r"'faces'.*There are: digits"):
        find(datasets, "faces")
    with pytest.raises(DatasetNotFound, match="digits@0000"):
        find(datasets, "digits@0000")


def test_an_empty_workspace_lists_nothing_and_says_how_to_begin(tmp_path: Path) -> None:
    assert list_datasets(tmp_path / "none") == ([], [])
    with pytest.raises(DatasetNotFound, match="aigc data import"):
        find(tmp_path, "digits")


def test_the_newest_version_is_the_one_without_a_number(copy: Dataset) -> None:
    manifest = copy.manifest.model_copy(
        update={"version": "newer", "created": "2999-01-01T00:00:00.000+00:00"}
    )
    newer = copy.folder.parent / "newer"
    shutil.copytree(copy.folder, newer)
    (newer / "manifest.json").write_text(manifest.sealed().model_dump_json())

    assert find(copy.folder.parent.parent, "digits").reference == "digits@newer"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(flipped(path.read_bytes())), "row group 0: column 'image'"),
    ],
)
def test_verify_finds_damage(copy: Dataset, damage: Callable[[Path], None], said: str) -> None:
    damage(copy.folder / "shards" / "test-00000.parquet")

    assert len(found := verify(copy)) == 1
    assert "test-00000.parquet" in str(found[0])
    assert said in str(found[0])


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_verify_finds_a_foreign_shard(copy: Dataset) -> None:
    (copy.folder / "shards" / "extra.parquet").write_bytes(b"PAR1")

    assert [str(each) for each in verify(copy)] == ["shards/extra.parquet is not in the manifest"]


def test_a_manifest_that_was_edited_is_refused(copy: Dataset) -> None:
    path = copy.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))

    with pytest.raises(ManifestInvalid, match="digest does not match"):
        read_manifest(copy.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b"\xff\xfe"])
def test_a_manifest_that_is_none_is_refused(copy: Dataset, content: bytes) -> None:
    (copy.folder / "manifest.json").write_bytes(content)

    with pytest.raises(ManifestInvalid, match=r"manifest\.json"):
        read_manifest(copy.folder)


@pytest.mark.parametrize("path", ["../outside.parquet", "/etc/passwd", "shards/../../x"])
def test_a_shard_outside_the_dataset_is_refused(copy: Dataset, path: str) -> None:
    manifest = json.loads((copy.folder / "manifest.json").read_text())
    manifest["shards"][0]["path"] = path
    (copy.folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ManifestInvalid, match="leaves the dataset's folder"):
        read_manifest(copy.folder)


def test_a_manifest_that_does_not_match_its_shards_is_noticed(copy: Dataset) -> None:
    shard = copy.manifest.shards[0]
    wrong = shard.model_copy(update={"row_groups": (5,)})
    manifest = copy.manifest.model_copy(update={"shards": (wrong, *copy.manifest.shards[1:])})

    with pytest.raises(ShardCorrupt, match=r"row group 0 has \d+ rows, the manifest says 5"):
        list(Dataset(copy.folder, manifest).read(shard.split))


def test_a_shard_that_was_written_anew_is_noticed(copy: Dataset) -> None:
    shard = copy.shards("test")[0]
    path = copy.folder / shard.path
    table = pq.read_table(path)
    pq.write_table(table.rename_columns(["picture", "label"]), path)

    with pytest.raises(ShardCorrupt, match=r"test-00000\.parquet: it has \d+ bytes, the manifest"):
        copy.records("test")


@pytest.mark.parametrize("name", ["../outside", "a/b", "", "UPPER", "x" * 41, "-dash"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetNotFound):
        find(tmp_path, name)
    if name:
        with pytest.raises(ImportRefused, match="cannot be a dataset's name"):
            import_dataset(tmp_path / "datasets", "digits", name)
    assert list(tmp_path.iterdir()) == []
