"""Folders of images and IDX files, whole, broken and hostile."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc.data.catalog import Dataset
from aigc.data.cleaning import Rejected
from aigc.data.importers import Options, folders, import_dataset, plan_import
from aigc.data.importers.pixels import decoded, stored_image
from aigc.errors import ImportRefused


def quarantined(dataset: Dataset) -> list[dict[str, Any]]:
    parts = sorted((dataset.folder / "quarantine").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def file_of(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


PNG, JPEG = file_of(Image.fromarray(noise(8, 8))), file_of(Image.fromarray(noise(64, 64)), "JPEG")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"\0" * 1000,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        PNG[:-30],
        PNG[:40],
        PNG[:60] + b"\xff" + PNG[61:],
        JPEG[: len(JPEG) // 2],
        JPEG[:20],
        file_of(Image.fromarray(noise(8, 8, 1).astype(np.int32)), "TIFF"),
        file_of(Image.fromarray(noise(8, 8, 1).astype(np.uint16)), "PNG"),
    ],
    ids=lambda content: content[:12].hex() or "empty",
)
def test_a_broken_file_is_undecodable(content: bytes) -> None:
    with pytest.raises(Rejected) as rejected:
        decoded(content)
    assert rejected.value.reason == "undecodable"
    assert "0x" not in rejected.value.detail


@pytest.mark.parametrize("side", [12_000, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_not_opened(side: int) -> None:
    with pytest.raises(Rejected, match=r"undecodable.*decompression bomb"):
        decoded(bomb(side))


def test_postscript_is_never_interpreted() -> None:
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(Rejected, match="no image of a known format"):
        decoded(content)


@pytest.mark.parametrize("step", [1, 7])
def test_no_change_of_a_byte_is_more_than_a_rejection(step: int) -> None:
    source = np.random.default_rng(step)
    for content in (PNG, JPEG, file_of(Image.fromarray(noise(8, 8)).quantize(16), "GIF")):
        for _ in range(100):
            changed = bytearray(content)
            for place in source.integers(0, len(changed), step):
                changed[place] = source.integers(256)
            # Any other error than this one is what must not happen.
            with contextlib.suppress(Rejected):
                assert decoded(bytes(changed)).dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_each_format_is_read(kind: str) -> None:
    grey = Image.fromarray(noise(6, 9, 1))
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decoded(file_of(grey, kind, **options))

    assert image.shape[1:] == (6, 9)
    assert (image == noise(6, 9, 1)).all()


def test_an_image_is_turned_as_its_exif_says() -> None:
    pixels, exif = noise(4, 6), Image.Exif()
    exif[0x0112] = 6
    image = decoded(file_of(Image.fromarray(pixels), "PNG", exif=exif))

    assert image.shape == (3, 6, 4)
    assert (image.transpose(1, 2, 0) == np.rot90(pixels, -1)).all()


def test_what_is_transparent_becomes_white() -> None:
    pixels = np.full((2, 2, 4), 9, dtype=np.uint8)
    pixels[0, :, 3], pixels[1, :, 3] = 0, 255
    image = decoded(file_of(Image.fromarray(pixels)))

    assert image[:, 0].tolist() == [[255, 255]] * 3
    assert image[:, 1].tolist() == [[9, 9]] * 3


def test_grey_becomes_colour_and_colour_stays() -> None:
    grey = file_of(Image.fromarray(noise(5, 5, 1)))
    image = stored_image(grey, (3, 5, 5), resize=False)

    assert (image == noise(5, 5, 1)).all()
    with pytest.raises(Rejected, match=r"wrong shape.*3 × 8 × 8, not 1 × 8 × 8"):
        stored_image(PNG, (1, 8, 8), resize=False)
    assert stored_image(PNG, (1, 8, 8), resize=True).shape == (1, 8, 8)


def test_an_image_of_another_size_is_cropped_at_its_centre_when_asked() -> None:
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 200
    content = file_of(Image.fromarray(pixels))

    assert (stored_image(content, (3, 5, 5), resize=True) > 180).all()
    with pytest.raises(Rejected, match="3 × 10 × 30, not 3 × 5 × 5"):
        stored_image(content, (3, 5, 5), resize=False)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[1, 2], [3]], "undecodable"),
        ([-1, 2], "undecodable"),
        ([256], "undecodable"),
        ([0.5], "undecodable"),
        ([float("nan")], "undecodable"),
        (["a"], "undecodable"),
        ([], "undecodable"),
        (None, "undecodable"),
        ({"a": 1}, "undecodable"),
        ([2**70], "undecodable"),
        ([1, 2, 3], "wrong shape"),
        ([[[[1]]]], "wrong shape"),
        (np.zeros((2, 2, 2), np.uint8), "wrong shape"),
    ],
)
@pytest.mark.parametrize("resize", [False, True])
def test_numbers_that_are_no_image_are_rejected(value: object, reason: str, resize: bool) -> None:
    with pytest.raises(Rejected) as rejected:
        stored_image(value, (1, 2, 2), resize)
    assert rejected.value.reason == reason


@pytest.mark.parametrize("value", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1.0, 2.0], [3.0, 4.0]]]])
def test_numbers_are_images(value: object) -> None:
    assert stored_image(value, (1, 2, 2), resize=False).tolist() == [[[1, 2], [3, 4]]]


def imported(tmp_path: Path, folder: Path, **options: object) -> Dataset:
    return import_dataset(tmp_path / "d", "images", "pets", folder, Options(**options))[0]


def reasons(dataset: Dataset) -> dict[str, str]:
    return {row["origin"]: row["reason"] for row in quarantined(dataset)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures in a folder of their own."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number in (1, 2):
        (path / f"{number}.png").write_bytes(file_of(Image.fromarray(noise(8, 8, seed=number))))
    return path


def test_each_reason_is_found_in_real_files(tmp_path: Path, folder: Path) -> None:
    (folder / "broken.png").write_bytes(PNG[:60])
    (folder / "blank.png").write_bytes(file_of(Image.new("RGB", (8, 8), "grey")))
    (folder / "empty.png").touch()
    (folder / "large.png").write_bytes(file_of(Image.fromarray(noise(9, 8))))
    (folder / "twice.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "nowhere.png").symlink_to(folder / "missing.png")
    dataset = imported(tmp_path, folder)

    assert dataset.manifest.source["cleaning"]["rejected"] == {
        "unreadable": 1,
        "undecodable": 2,
        "wrong shape": 1,
        "blank": 1,
        "duplicate": 1,
    }
    assert reasons(dataset) == {
        "blank.png": "blank",
        "broken.png": "undecodable",
        "empty.png": "undecodable",
        "large.png": "wrong shape",
        "nowhere.png": "unreadable",
        "twice.png": "duplicate",
    }
    raw = {row["origin"]: row["raw"] for row in quarantined(dataset)}
    assert raw["large.png"] == (folder / "large.png").read_bytes()
    assert raw["blank.png"] == (folder / "blank.png").read_bytes()
    assert raw["nowhere.png"] is None


def test_an_image_outside_of_all_classes_has_no_label(tmp_path: Path, folder: Path) -> None:
    (folder / "cats").mkdir()
    (folder / "cats" / "3.png").write_bytes(file_of(Image.fromarray(noise(8, 8, seed=3))))
    dataset = imported(tmp_path, folder)

    assert dataset.manifest.layout.labels == ("cats",)
    assert reasons(dataset) == {"1.png": "no label", "2.png": "no label"}


def test_a_folder_without_an_image_is_no_class_and_what_is_hidden_is_not_looked_at(
    tmp_path: Path, folder: Path
) -> None:
    for name in ("1.png", "2.png"):
        (folder / name[0]).mkdir()
        (folder / name).rename(folder / name[0] / name)
    (folder / "notes").mkdir()
    (folder / "notes" / "read.me").write_text("no picture")
    for hidden in (folder / ".ipynb_checkpoints" / "1.png", folder / "1" / "._1.png"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(file_of(Image.fromarray(noise(8, 8, seed=3))))
    dataset = imported(tmp_path, folder)

    assert dataset.manifest.layout.labels == ("1", "2")
    assert reasons(dataset) == {"notes/read.me": "undecodable"}


def test_links_in_a_circle_and_what_is_no_file_are_no_obstacle(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "self").symlink_to(folder)
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    os.mkfifo(folder / "pipe")
    dataset = imported(tmp_path, folder)

    assert sum(dataset.manifest.splits.values()) == 2
    assert reasons(dataset) == dict.fromkeys(["one", "pipe", "self", "two"], "unreadable")


def test_names_that_are_no_text_are_kept_apart_and_shown(tmp_path: Path, folder: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe"))
    strange.mkdir()
    for name in (b"/\xe9.png", b"/new\nline.png"):
        path = os.fsencode(strange) + name
        with open(path, "wb") as file:
            file.write(file_of(Image.fromarray(noise(8, 8, seed=len(name)))))
    (strange / "broken").write_bytes(b"x")
    (folder / "plain").mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).rename(folder / "plain" / name)
    dataset = imported(tmp_path, folder)

    assert dataset.manifest.layout.labels == ("\\xff\\xfe", "plain")
    assert reasons(dataset) == {"\\xff\\xfe/broken": "undecodable"}


def test_a_file_too_large_to_be_a_picture_is_not_read(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LARGEST_FILE", 2**20)
    with (folder / "film.mp4").open("wb") as file:
        file.truncate(2**40)
    dataset = imported(tmp_path, folder)

    assert reasons(dataset) == {"film.mp4": "unreadable"}


def test_the_first_image_that_can_be_decoded_gives_the_shape(tmp_path: Path, folder: Path) -> None:
    (folder / "0.png").write_bytes(b"broken")
    (folder / "3.png").write_bytes(file_of(Image.fromarray(noise(9, 9))))

    assert imported(tmp_path, folder).manifest.layout.shape == (3, 8, 8)
    assert imported(tmp_path, folder, shape=(3, 9, 9)).manifest.splits
    resized = imported(tmp_path, folder, shape=(1, 4, 4), resize=True)
    assert sum(resized.manifest.splits.values()) == 3


def test_a_file_is_no_folder_of_images(folder: Path) -> None:
    with pytest.raises(ImportRefused, match="is no folder"):
        plan_import("images", "pets", folder / "1.png")


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Files named as MNIST's: 40 for training, gzipped, and 10 for testing, plain."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = noise(50 * 6, 5, 1).reshape(50, 6, 5)
    labels = (np.arange(50) % 10).astype(np.uint8)
    for name, rows in (("train", slice(0, 40)), ("t10k", slice(40, 50))):
        for kind, content in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            path = folder / f"{name}-{kind}-ubyte"
            path.write_bytes(idx(content))
    for path in folder.glob("train*"):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    (folder / "README").write_text("left alone")
    return folder


def import_idx(tmp_path: Path, path: Path) -> Dataset:
    return import_dataset(tmp_path / "d", "idx", "mnist", path)[0]


def test_idx_files_are_joined_with_their_labels(tmp_path: Path, mnist: Path) -> None:
    dataset = import_idx(tmp_path, mnist)
    images = noise(50 * 6, 5, 1).reshape(50, 6, 5)

    assert sum(dataset.manifest.splits.values()) == 50
    assert dataset.manifest.layout.shape == (1, 6, 5)
    assert dataset.manifest.layout.labels == tuple("0123456789")
    for split in dataset.manifest.splits:
        records = dataset.records(split)
        assert records.labels is not None
        for stored, label in zip(records.stored, records.labels.tolist(), strict=True):
            (row,) = np.flatnonzero((images == stored.numpy()).all(axis=(1, 2)))
            assert row % 10 == label


def test_one_idx_file_finds_its_labels(tmp_path: Path, mnist: Path) -> None:
    dataset = import_idx(tmp_path, mnist / "t10k-images-idx3-ubyte")

    assert sum(dataset.manifest.splits.values()) == 10
    assert dataset.manifest.layout.labels == tuple("0123456789")


def test_images_without_labels_are_a_dataset_without(tmp_path: Path, mnist: Path) -> None:
    for path in mnist.glob("*labels*"):
        path.unlink()

    assert import_idx(tmp_path, mnist).manifest.layout.labels == ()


def test_ranges_of_an_idx_file_are_the_file(
    tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = import_idx(tmp_path / "one", mnist)
    monkeypatch.setattr(folders.ranges, "__defaults__", (7 * 30,))
    cut = import_idx(tmp_path / "two", mnist)

    assert len(plan_import("idx", "mnist", mnist).parts) == 2 + 6
    for split in whole.manifest.splits:
        assert (cut.records(split).stored == whole.records(split).stored).all()


def test_what_a_truncated_idx_file_lost_is_reported(tmp_path: Path, mnist: Path) -> None:
    path = mnist / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-70])
    dataset = import_idx(tmp_path, mnist)

    assert sum(dataset.manifest.splits.values()) == 47
    assert dataset.manifest.source["cleaning"]["rejected"] == {"unreadable": 3}
    (lost,) = quarantined(dataset)
    assert lost["origin"] == "t10k-images-idx3-ubyte:7"
    assert lost["detail"] == "records lost: 3; the file ends early"


def test_a_broken_gzip_file_ends_its_part(
    tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-400])
    whole = import_idx(tmp_path / "one", mnist)
    monkeypatch.setattr(folders.ranges, "__defaults__", (7 * 30,))
    cut = import_idx(tmp_path / "two", mnist)

    for dataset in (whole, cut):
        kept, cleaning = sum(dataset.manifest.splits.values()), dataset.manifest.source["cleaning"]
        assert 10 <= kept < 50
        assert cleaning["read"] == 50
        assert cleaning["rejected"] == {"unreadable": 50 - kept}
        assert {row["reason"] for row in quarantined(dataset)} == {"unreadable"}


def test_files_that_are_not_named_as_idx_files_are_left_alone(tmp_path: Path, mnist: Path) -> None:
    for name in ("idx-notes.txt", "idx3.json", "._train-images-idx3-ubyte.gz"):
        (mnist / name).write_text("left alone")
    (mnist / "more-idx3-ubyte").mkdir()
    assert sum(import_idx(tmp_path, mnist).manifest.splits.values()) == 50

    (mnist / "t10k-images-idx3-ubyte").rename(mnist / "pictures.bin")
    assert sum(import_idx(tmp_path, mnist / "pictures.bin").manifest.splits.values()) == 10


@pytest.mark.timeout(60)
def test_a_pipe_among_idx_files_is_refused_and_never_opened(mnist: Path) -> None:
    os.mkfifo(mnist / "more-images-idx3-ubyte")
    with pytest.raises(ImportRefused, match=r"more-images-idx3-ubyte .*it is no regular file"):
        plan_import("idx", "mnist", mnist)


@pytest.mark.parametrize("sides", [(0, 5), (2**31, 2**31)])
def test_images_of_no_pixels_or_too_many_are_refused(sides: tuple[int, int], mnist: Path) -> None:
    path = mnist / "t10k-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">III", 10, *sides))
    with pytest.raises(ImportRefused, match=f"says that its images have {sides[0] * sides[1]} pix"):
        plan_import("idx", "mnist", mnist)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as IDX"),
        (lambda path: path.write_bytes(b"\0\0\x0d\x03" + b"\0" * 12), "no IDX file of bytes"),
        (lambda path: path.write_bytes(b"PAR1" * 10), "no IDX file of bytes"),
        (lambda path: path.write_bytes(b"\0\0\x08\xff"), "no IDX file of bytes"),
        (lambda path: path.unlink(), "has no labels, and other files have"),
        (lambda path: path.write_bytes(idx(np.zeros(9, np.uint8))), "10 images.* 9 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    damage: Callable[[Path], object], said: str, mnist: Path
) -> None:
    damage(mnist / "t10k-labels-idx1-ubyte")
    with pytest.raises(ImportRefused, match=said):
        plan_import("idx", "mnist", mnist)


def test_folders_that_are_splits_are_no_classes(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / "split" / name / "cat").mkdir(parents=True)
        (tmp_path / "split" / name / "cat" / "a.png").write_bytes(b"")

    with pytest.raises(ImportRefused, match="are splits, not classes: test, train, valid"):
        plan_import("images", "split", tmp_path / "split")
    assert plan_import("images", "split", tmp_path / "split" / "train", Options(shape=(1, 4, 4)))
