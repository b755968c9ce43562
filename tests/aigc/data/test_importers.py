"""What holds for every importer: versions, splits, duplicates, the quarantine, interruptions."""

from __future__ import annotations

import builtins
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aigc.data.catalog import Dataset, find
from aigc.data.files import sha256_of
from aigc.data.importers import (
    Options,
    Shares,
    conversion,
    import_dataset,
    plan_import,
    run_import,
    selection,
)
from aigc.data.importers.labels import class_names
from aigc.data.importers.table import IMPORTERS
from aigc.data.verification import verify
from aigc.errors import DatasetNotFound, ImportRefused, WorkspaceUnwritable
from aigc.layout import Layout

ROOT = Path(__file__).parents[3]


def png(path: Path, seed: int, size: tuple[int, int] = (12, 12)) -> Path:
    """A picture of noise: no two seeds are near each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty pictures of two classes, one of them twice, and a file that is no picture."""
    folder = tmp_path / "pictures"
    for number in range(30):
        png(folder / ("cats" if number % 2 else "dogs") / f"{number:02d}.png", number)
    png(folder / "dogs" / "again.png", 4)
    (folder / "cats" / "notes.txt").write_text("no picture")
    return folder


def files(dataset: Dataset) -> dict[str, str]:
    """The hash of each file of a dataset but for its manifest, which has a date."""
    return {
        str(path.relative_to(dataset.folder)): sha256_of(path)
        for path in sorted(dataset.folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def quarantined(dataset: Dataset) -> list[dict[str, Any]]:
    parts = sorted((dataset.folder / "quarantine").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def all_records(dataset: Dataset) -> set[bytes]:
    return {
        record.numpy().tobytes()
        for split in dataset.manifest.splits
        for record in dataset.records(split).stored
    }


def test_an_import_says_what_it_did(tmp_path: Path, pictures: Path) -> None:
    dataset, made = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    source = dataset.manifest.source

    assert made
    assert dataset.manifest.layout == Layout(
        modality="image", shape=(3, 12, 12), labels=("cats", "dogs")
    )
    assert sum(dataset.manifest.splits.values()) == 30
    assert source["importer"] == "images"
    assert source["origin"] == str(pictures)
    assert source["cleaning"]["read"] == 32
    assert source["cleaning"]["rejected"] == {"undecodable": 1, "duplicate": 1}


def test_the_rejected_are_kept_with_origin_reason_and_bytes(tmp_path: Path, pictures: Path) -> None:
    dataset, _ = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    broken, twice = quarantined(dataset)

    assert (broken["origin"], broken["reason"]) == ("cats/notes.txt", "undecodable")
    assert broken["raw"] == b"no picture"
    # In source order again.png comes after 04.png, which stays.
    assert (twice["origin"], twice["detail"]) == ("dogs/again.png", "of dogs/04.png")
    assert twice["raw"] in all_records(dataset)


def test_labels_are_the_folders(tmp_path: Path, pictures: Path) -> None:
    dataset, _ = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    names = dataset.manifest.layout.labels
    expected = {
        np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(): path.parent.name
        for path in pictures.rglob("*.png")
    }
    for split in dataset.manifest.splits:
        records = dataset.records(split)
        assert records.labels is not None
        for stored, label in zip(records.stored, records.labels.tolist(), strict=True):
            assert names[label] == expected[stored.numpy().tobytes()]


def test_the_same_import_is_the_same_version(tmp_path: Path, pictures: Path) -> None:
    one, made = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    before = files(one)
    two, made_again = import_dataset(tmp_path / "datasets", "images", "pets", pictures)

    assert (made, made_again) == (True, False)
    assert two.manifest == one.manifest
    assert files(two) == before


def shuffled(function: Callable[[Any], Any], inputs: Any) -> Iterable[Any]:
    results = [function(each) for each in reversed(inputs)]
    random.Random(0).shuffle(results)
    return iter(results)


def test_the_order_of_the_work_changes_no_byte(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigc.data.importers.folders.PART_FILES", 4)
    plan = plan_import("images", "pets", pictures)
    assert len(plan.parts) == 8
    one, _ = run_import(tmp_path / "one", plan)
    two, _ = run_import(tmp_path / "two", plan, shuffled)

    assert files(one) == files(two)
    assert one.manifest.digest == two.manifest.digest


def test_a_source_is_the_same_wherever_it_lies(tmp_path: Path, pictures: Path) -> None:
    one, _ = import_dataset(tmp_path / "one", "images", "pets", pictures)
    pictures.rename(tmp_path / "moved")
    two, _ = import_dataset(tmp_path / "two", "images", "pets", tmp_path / "moved")

    assert one.reference == two.reference
    assert files(one) == files(two)


def test_another_content_is_another_version(tmp_path: Path, pictures: Path) -> None:
    versions = set[str]()
    for change in (
        lambda: None,
        lambda: png(pictures / "dogs" / "new.png", 99),
        lambda: (pictures / "cats" / "notes.txt").write_text("other notes"),
        lambda: (pictures / "cats" / "01.png").rename(pictures / "dogs" / "01.png"),
    ):
        change()
        versions.add(import_dataset(tmp_path / "d", "images", "pets", pictures)[0].reference)
    other = Shares(validation=0.3, test=0.1)
    versions.add(
        import_dataset(tmp_path / "d", "images", "pets", pictures, shares=other)[0].reference
    )

    assert len(versions) == 5


def test_another_label_is_another_version(tmp_path: Path) -> None:
    for label in ("b", "c"):
        rows = [f"some text {number},{label if number else 'a'}" for number in range(4)]
        rows += ["more text,b", "other text,c"]
        (tmp_path / f"{label}.csv").write_text("\n".join(["text,label", *rows]))
    options = Options(column="text", label="label", length=16)
    one, two = (
        import_dataset(tmp_path / "d", "csv", "made", tmp_path / name, options)[0]
        for name in ("b.csv", "c.csv")
    )

    assert one.manifest.layout == two.manifest.layout
    assert one.reference != two.reference


hashes = st.lists(st.binary(min_size=32, max_size=32), unique=True, min_size=1, max_size=40)
shares = st.floats(0, 0.49)


def as_rows(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


@given(hashes, hashes, shares, shares)
def test_a_record_never_changes_sides_when_the_dataset_grows(
    few: list[bytes], more: list[bytes], validation: float, test: float
) -> None:
    split = Shares(validation, test)

    assert split.of(as_rows(few)).tolist() == split.of(as_rows(few + more)).tolist()[: len(few)]


@given(hashes, shares, shares)
def test_a_larger_validation_share_moves_nothing_into_or_out_of_the_test_split(
    digests: list[bytes], validation: float, test: float
) -> None:
    rows = as_rows(digests)
    with_validation, without = Shares(validation, test).of(rows), Shares(0.0, test).of(rows)

    assert ((with_validation == 2) == (without == 2)).all()


def test_splits_have_about_the_shares_asked_for() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (20_000, 32), dtype=np.uint8)
    counts = np.bincount(Shares(validation=0.25, test=0.05).of(rows)) / len(rows)

    assert np.abs(counts - [0.7, 0.25, 0.05]).max() < 0.01


def test_a_split_of_nothing_is_not_there(tmp_path: Path, pictures: Path) -> None:
    only = Shares(validation=0.0, test=0.0)
    dataset, _ = import_dataset(tmp_path, "images", "pets", pictures, shares=only)

    assert dataset.manifest.splits == {"train": 30}


@pytest.mark.parametrize("given", [(-0.1, 0.1), (0.5, 0.5), (float("nan"), 0.1), (0.1, 2.0)])
def test_shares_that_are_none_are_refused(given: tuple[float, float]) -> None:
    with pytest.raises(ImportRefused, match="no shares"):
        Shares(*given)


def test_near_duplicates_are_flagged_and_kept(tmp_path: Path, pictures: Path) -> None:
    image = Image.open(pictures / "dogs" / "00.png")
    image.point(lambda value: min(255, value + 1)).save(pictures / "cats" / "nearly.png")
    # A duplicate before them, so that rows of kept records are not rows of all.
    (pictures / "cats" / "00.png").write_bytes((pictures / "cats" / "01.png").read_bytes())
    dataset, _ = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    (pair,) = pq.read_table(dataset.folder / "near-duplicates.parquet").to_pylist()

    assert (pair["first"], pair["second"]) == ("cats/nearly.png", "dogs/00.png")
    assert pair["distance"] <= 12
    assert dataset.manifest.source["cleaning"]["near_duplicates"]["records"] == 2
    assert sum(dataset.manifest.splits.values()) == 31


def test_a_split_of_many_records_has_several_shards(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = import_dataset(tmp_path / "one", "images", "pets", pictures)
    monkeypatch.setattr(selection, "records_of_a_shard", lambda layout: 7)
    cut, _ = import_dataset(tmp_path / "two", "images", "pets", pictures)

    assert cut.manifest.splits == whole.manifest.splits
    train = [shard.records for shard in cut.shards("train")]
    assert train[:-1] == [7] * (len(train) - 1)
    assert (cut.records("train").stored == whole.records("train").stored).all()


def test_shards_of_large_records_are_smaller() -> None:
    sizes = {
        side: selection.records_of_a_shard(Layout(modality="image", shape=(3, side, side)))
        for side in (8, 28, 64, 256, 8192)
    }

    assert sizes == {8: 65_536, 28: 65_536, 64: 21_824, 256: 1365, 8192: 1}


def test_records_are_converted_a_few_at_a_time(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = import_dataset(tmp_path / "one", "images", "pets", pictures)
    monkeypatch.setattr(conversion, "CHUNK_RECORDS", 3)
    few, _ = import_dataset(tmp_path / "two", "images", "pets", pictures)

    assert whole.manifest.shards == few.manifest.shards
    assert quarantined(whole) == quarantined(few)


def test_duplicates_are_quarantined_a_few_at_a_time_and_make_no_class(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        png(pictures / "wolves" / f"{number:02d}.png", number)
    monkeypatch.setattr(conversion, "CHUNK_RECORDS", 3)
    dataset, _ = import_dataset(tmp_path, "images", "pets", pictures)
    footer = pq.read_metadata(dataset.folder / "quarantine" / "000000.parquet")
    found = {row["origin"]: row["detail"] for row in quarantined(dataset)}

    assert {footer.row_group(group).num_rows for group in range(footer.num_row_groups)} <= {1, 2, 3}
    assert dataset.manifest.layout.labels == ("cats", "dogs")
    assert len(found) == 22
    for number in range(20):
        first = f"{'cats' if number % 2 else 'dogs'}/{number:02d}.png"
        assert found[f"wolves/{number:02d}.png"] == f"of {first}"


class Interrupted(Exception):
    """What a test stops an import with."""


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_an_interrupted_import_leaves_nothing(tmp_path: Path, pictures: Path, calls: int) -> None:
    plan, done = plan_import("images", "pets", pictures), list[int]()

    def stopping(function: Callable[[Any], Any], inputs: Any) -> Iterable[Any]:
        results = list(builtins.map(function, inputs))
        done.append(len(results))
        if len(done) > calls:
            raise Interrupted
        return results

    with pytest.raises(Interrupted):
        run_import(tmp_path / "datasets", plan, stopping)
    assert list((tmp_path / "datasets").rglob("*")) == []
    assert run_import(tmp_path / "datasets", plan)[1]


def test_what_a_killed_import_left_is_removed_by_the_next(tmp_path: Path, pictures: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from aigc.data.importers import plan_import, run_import
def killed(function, inputs):
    list(map(function, inputs))
    os.kill(os.getpid(), signal.SIGKILL)
plan = plan_import("images", "pets", Path({str(pictures)!r}))
run_import(Path({str(tmp_path / "datasets")!r}), plan, killed)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    left = list((tmp_path / "datasets" / "pets").iterdir())
    assert len(left) == 1
    with pytest.raises(DatasetNotFound):
        find(tmp_path / "datasets", "pets")

    dataset, made = import_dataset(tmp_path / "datasets", "images", "pets", pictures)
    assert made
    assert list((tmp_path / "datasets" / "pets").iterdir()) == [dataset.folder]


def test_imports_side_by_side_make_one_dataset(tmp_path: Path, pictures: Path) -> None:
    script = f"""
from pathlib import Path
from aigc.data.importers import import_dataset
root, pictures = Path({str(tmp_path / "d")!r}), Path({str(pictures)!r})
print(import_dataset(root, "images", "pets", pictures)[0].reference)
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = {process.communicate()[0].strip() for process in started}

    assert [process.returncode for process in started] == [0, 0]
    assert printed == {find(tmp_path / "d", "pets").reference}
    assert len(list((tmp_path / "d" / "pets").iterdir())) == 1


def test_another_import_at_work_is_left_alone(tmp_path: Path, pictures: Path) -> None:
    plan, seen = plan_import("images", "pets", pictures), list[bool]()

    def nested(function: Callable[[Any], Any], inputs: Any) -> Iterable[Any]:
        if not seen:
            seen.append(import_dataset(tmp_path / "d", "images", "pets", pictures)[1])
        return builtins.map(function, inputs)

    dataset, made = run_import(tmp_path / "d", plan, nested)
    assert seen == [True]
    assert not made
    assert list((tmp_path / "d" / "pets").iterdir()) == [dataset.folder]


def test_when_everything_is_rejected_nothing_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"no picture" * number)
    with pytest.raises(ImportRefused, match="3 undecodable"):
        import_dataset(tmp_path / "d", "images", "pets", folder)
    with pytest.raises(ImportRefused, match=r"3 undecodable; the first: 0\.png: undecodable"):
        import_dataset(tmp_path / "d", "images", "pets", folder, Options(shape=(1, 8, 8)))
    assert list((tmp_path / "d").rglob("*")) == []


def test_a_disk_that_refuses_is_a_sentence(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "datasets").write_text("a file where a folder should be")

    with pytest.raises(WorkspaceUnwritable, match="cannot write"):
        import_dataset(tmp_path / "datasets", "images", "pets", pictures)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("images", Options(column="x"), "images has no use for --column"),
        ("digits", Options(resize=True), "digits has no use for --resize"),
        ("text", Options(shape=(1, 8, 8)), "text has no use for --shape"),
        ("images", Options(shape=(8, 8)), "no shape of images"),
        ("images", Options(shape=(4, 8, 8)), "no shape of images"),
        ("images", Options(shape=(3, 0, 8)), "no shape of images"),
        ("images", Options(shape=(3, 8, 10**9)), "no shape of images"),
        ("text", Options(length=3), "no length of a text"),
        ("text", Options(length=2**40), "no length of a text"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    kind: str, options: Options, said: str, tmp_path: Path
) -> None:
    path = None if kind == "digits" else tmp_path
    with pytest.raises(ImportRefused, match=said):
        plan_import(kind, "name", path, options)


@pytest.mark.parametrize("kind", sorted(set(IMPORTERS) - {"digits", "mnist-5k"}))
def test_a_path_that_is_none_is_refused(kind: str, tmp_path: Path) -> None:
    options = Options(column="x") if kind in ("csv", "jsonl", "parquet") else Options()
    for path in (None, tmp_path / "missing", Path("\0"), loop(tmp_path)):
        with pytest.raises(ImportRefused):
            plan_import(kind, "name", path, options)
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(ImportRefused):
        plan_import(kind, "name", tmp_path / "empty", options)


def loop(folder: Path) -> Path:
    path = folder / "loop"
    if not path.is_symlink():
        path.symlink_to(path)
    return path


def test_digits_take_no_path_and_files_need_a_name(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="Leave the PATH out"):
        plan_import("digits", path=tmp_path)
    with pytest.raises(ImportRefused, match="no name"):
        plan_import("images", path=tmp_path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([], ()),
    ],
)
def test_classes_are_in_order(labels: list[str], names: tuple[str, ...]) -> None:
    assert class_names(labels) == names


def test_arrow_shards_hold_the_same_records_and_are_another_version(tmp_path: Path) -> None:
    parquet, _ = run_import(tmp_path, plan_import("digits"))
    arrow, _ = run_import(tmp_path, plan_import("digits", format="arrow"))

    assert arrow.reference != parquet.reference
    assert {Path(shard.path).suffix for shard in arrow.manifest.shards} == {".arrow"}
    assert arrow.manifest.splits == parquet.manifest.splits
    for split in arrow.manifest.splits:
        assert torch.equal(arrow.records(split).stored, parquet.records(split).stored)
    assert verify(arrow) == []
