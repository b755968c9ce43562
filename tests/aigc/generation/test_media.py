"""A media file is the record, with a label that can be read back, or there is none."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from aigc.errors import Unlabelled
from aigc.generation.byte_rows import Rows, rows_of
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.label import Label
from aigc.generation.labels.png import PngCarrier
from aigc.generation.media import AT_ONCE, FORMATS, media_files
from aigc.layout import Layout
from aigc.modalities import MODALITIES
from aigc.modalities.image_files import read_image

DATASET = Label.of_dataset("Example Ltd", "night@f750d6018c20")
LABELS = [DATASET.of_sample(sample) for sample in range(3)]
TEXT = Layout(modality="text", shape=(12,))


def images(*shape: int) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, *shape), generator=drawn, dtype=torch.uint8)


def of_images(stored: torch.Tensor) -> Layout:
    return Layout(modality="image", shape=tuple(stored.shape[1:]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48)], ids=str)
def test_an_image_becomes_a_png_file_of_the_same_pixels(shape: tuple[int, ...]) -> None:
    stored = images(*shape)
    files = list(media_files(stored, of_images(stored), DATASET, range(3)))

    assert [file.suffix for file in files] == ["png"] * 3
    for file, record, label in zip(files, stored, LABELS, strict=True):
        assert np.array_equal(read_image(file.content), record.numpy())
        assert CARRIERS["png"].read(file.content) == label
        assert file.sha256 == hashlib.sha256(file.content).hexdigest()


def test_a_text_becomes_markdown_without_its_padding() -> None:
    texts = [b"a word", b"\xff no utf-8", b"\0" * 12]
    stored = torch.tensor([list(text.ljust(12, b"\0")) for text in texts], dtype=torch.uint8)
    files = list(media_files(stored, TEXT, DATASET, range(3)))

    assert [CARRIERS[file.suffix].read(file.content) for file in files] == LABELS
    bodies = [file.content.split(b"\n---\n", 1)[1] for file in files]
    assert bodies == [b"a word", b"\xff no utf-8", b""]


def test_the_same_records_and_labels_give_the_same_bytes() -> None:
    stored = images(1, 28, 28)
    first, second = (
        list(media_files(stored, of_images(stored), DATASET, range(3))) for _ in range(2)
    )

    assert first == second
    assert len({file.sha256 for file in first}) == 3


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48)], ids=str)
def test_a_file_is_the_same_beside_others_as_alone(shape: tuple[int, ...]) -> None:
    samples = [9, 10, 7, 12_345, 12_346, 12_347, 999]
    stored = images(*shape)[[0, 1, 2, 0, 1, 0, 2]]
    together = list(media_files(stored, of_images(stored), DATASET, samples))

    for file, record, sample in zip(together, stored, samples, strict=True):
        assert [file] == list(media_files(record[None], of_images(stored), DATASET, [sample]))
        assert CARRIERS["png"].read(file.content) == DATASET.of_sample(sample)


def test_the_files_of_today_are_those_of_tomorrow() -> None:
    """Published datasets hold the hashes of files that are made again from their records."""
    stored = torch.arange(2 * 784).mul(7).remainder(256).byte().view(2, 1, 28, 28)
    files = media_files(stored, of_images(stored), DATASET, [1233, 7])

    assert [file.sha256 for file in files] == [
        "54ec8a75941009de58fed2543f768c774483e87b9cee64b075a98aef75102137",
        "7a153a40ef78622197a5b14fab364cb99e54402fd2438016bba3044f83da38f7",
    ]


def test_more_files_than_are_made_at_once_are_those_of_their_records() -> None:
    stored = images(1, 2, 2)[:1].repeat(2 * AT_ONCE + 1, 1, 1, 1)
    stored[:, 0, 0, 0] = torch.arange(len(stored)) % 251
    files = list(media_files(stored, of_images(stored), DATASET, range(len(stored))))

    for row in (0, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE):
        assert np.array_equal(read_image(files[row].content), stored[row].numpy())
        assert CARRIERS["png"].read(files[row].content) == DATASET.of_sample(row)


def test_every_kind_of_content_has_a_file_with_a_place_for_the_label() -> None:
    assert FORMATS.keys() == MODALITIES.keys()
    assert {suffix for suffix, _ in FORMATS.values()} <= CARRIERS.keys()


def test_content_without_a_place_for_a_label_is_not_written() -> None:
    with pytest.raises(Unlabelled, match="music"):
        next(media_files(images(4), Layout(modality="music", shape=(4,)), DATASET, range(3)))


def test_a_label_that_is_not_read_back_stops_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(PngCarrier):
        def put(self, media: Rows, expressed: Rows) -> Rows:
            others = [row.tobytes().replace(b'/1"', b'/2"') for row in expressed]
            return super().put(media, rows_of(others))

    monkeypatch.setitem(CARRIERS, "png", Forgetful())
    stored = images(1, 28, 28)

    with pytest.raises(Unlabelled, match="night@f750d6018c20/1 "):
        list(media_files(stored, of_images(stored), DATASET, range(3)))


def test_a_label_that_no_parser_understands_stops_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(PngCarrier):
        def expressed(self, label: Label) -> bytes:
            return super().expressed(label).replace(b"Example", b"Another")

    monkeypatch.setitem(CARRIERS, "png", Wrong())
    stored = images(1, 28, 28)

    with pytest.raises(Unlabelled, match="night@f750d6018c20/0 "):
        list(media_files(stored, of_images(stored), DATASET, range(3)))


def test_each_record_has_its_label() -> None:
    stored = images(1, 28, 28)

    with pytest.raises(ValueError, match="3 records cannot have 2 ids"):
        list(media_files(stored, of_images(stored), DATASET, range(2)))
