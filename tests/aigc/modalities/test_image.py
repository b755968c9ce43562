"""Images: stored exactly, decoded and encoded without loss, shown as they are."""

from __future__ import annotations

import pytest
import torch

from aigc.errors import DataError
from aigc.layout import Layout
from aigc.modalities import MODALITIES, modality
from aigc.modalities.image import ImageModality

IMAGES = ImageModality()


def random_images(count: int, *shape: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *shape), generator=source).to(torch.uint8)


def test_all_256_values_survive_decoding_and_encoding() -> None:
    stored = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    decoded = IMAGES.decode(stored)

    assert decoded.dtype == torch.float32
    assert decoded.flatten()[0] == -1
    assert 1 - 2e-7 < decoded.max() <= 1
    assert torch.equal(IMAGES.encode(decoded), stored)


def test_encoding_rounds_and_clamps_what_lies_outside() -> None:
    samples = torch.tensor([-9.0, -1.0, -1 + 0.4 * 2 / 255, -1 + 0.6 * 2 / 255, 1.0, 1.5])

    assert IMAGES.encode(samples).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize("change", ["decode", "encode"])
def test_what_is_converted_is_left_as_it_was(change: str) -> None:
    given = random_images(2, 1, 4, 4) if change == "decode" else torch.rand(2, 1, 4, 4)
    before = given.clone()
    getattr(IMAGES, change)(given)

    assert torch.equal(given, before)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)])
def test_a_column_gives_back_what_was_stored(shape: tuple[int, ...]) -> None:
    layout = Layout(modality="image", shape=shape)
    stored = random_images(9, *shape)
    column = IMAGES.to_column(stored)

    assert column.type == IMAGES.column_type(layout)
    assert torch.equal(IMAGES.from_column(column, layout), stored)
    assert torch.equal(IMAGES.from_column(column.slice(2, 5), layout), stored[2:7])


def test_a_column_of_images_that_lie_elsewhere_in_memory_is_in_order() -> None:
    stored = random_images(4, 1, 8, 6).transpose(2, 3)
    column = IMAGES.to_column(stored)
    layout = Layout(modality="image", shape=(1, 6, 8))

    assert torch.equal(IMAGES.from_column(column, layout), stored)


@pytest.mark.parametrize(("channels", "mode", "ground"), [(1, "L", 96), (3, "RGB", (96, 96, 96))])
def test_a_sheet_shows_the_images_in_rows_on_grey(
    channels: int, mode: str, ground: int | tuple[int, ...]
) -> None:
    stored = torch.zeros(5, channels, 8, 8, dtype=torch.uint8)
    stored[:, 0] = torch.arange(5, dtype=torch.uint8).mul(50).reshape(5, 1, 1)
    sheet = IMAGES.sheet(stored, columns=3)
    scale = 84 // 8

    def colour(column: int, row: int) -> object:
        left, top = 2 + column * 10, 2 + row * 10
        found = sheet.getpixel((left * scale + 1, top * scale + 1))
        return found[0] if isinstance(found, tuple) else found

    assert sheet.mode == mode
    assert sheet.size == ((3 * 10 + 2) * scale, (2 * 10 + 2) * scale)
    assert [colour(i % 3, i // 3) for i in range(5)] == [0, 50, 100, 150, 200]
    assert sheet.getpixel((0, 0)) == ground
    assert sheet.getpixel((sheet.width - scale * 5, sheet.height - scale * 5)) == ground


def test_large_images_are_shown_as_they_are() -> None:
    assert IMAGES.sheet(random_images(1, 1, 100, 90), columns=1).size == (94, 104)


def test_only_images_of_one_value_are_blank() -> None:
    stored = torch.full((4, 1, 8, 8), 7, dtype=torch.uint8)
    stored[1] = 0
    stored[2, 0, 7, 7] = 8
    stored[3] = random_images(1, 1, 8, 8)

    assert IMAGES.is_blank(stored).tolist() == [True, True, False, False]


def test_an_unknown_modality_names_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no modality 'smell'. The modalities are: image, text"):
        modality("smell")
    assert set(MODALITIES) == {"image", "text"}
