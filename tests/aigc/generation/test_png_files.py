"""What is encoded by hand is a PNG file to others, and nothing broken passes for one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from aigc.generation.byte_rows import rows_of
from aigc.generation.png_files import chunk, chunks, encode
from aigc.modalities.image_files import Pixels, read_image

BROKEN = r"^(it|the chunk at byte \d+) "
SIDES = st.integers(1, 40)
PICTURES = st.tuples(st.sampled_from([1, 3]), SIDES, SIDES).flatmap(
    lambda shape: arrays(np.uint8, shape)
)
DIGIT = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)


@given(PICTURES)
def test_pillow_reads_the_pixels_that_were_encoded(pixels: Pixels) -> None:
    assert np.array_equal(read_image(encode(pixels)), pixels)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_grey_stays_grey_and_colour_colour(channels: int, mode: str) -> None:
    with Image.open(io.BytesIO(encode(np.zeros((channels, 64, 48), np.uint8)))) as opened:
        assert (opened.mode, opened.size) == (mode, (48, 64))


def test_the_bytes_of_a_picture_are_a_function_of_its_pixels() -> None:
    transposed = np.ascontiguousarray(DIGIT.transpose(0, 2, 1)).transpose(0, 2, 1)

    assert encode(DIGIT) == encode(DIGIT.copy()) == encode(transposed)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (1, 0, 4), (3, 4, 0)], ids=str)
def test_what_is_neither_grey_nor_rgb_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no grey or RGB picture"):
        encode(np.zeros(shape, np.uint8))


def test_the_chunks_of_a_file_are_its_parts() -> None:
    parts = [(kind, content.tobytes()) for kind, content in chunks(rows_of([encode(DIGIT)]))]

    assert [kind for kind, _ in parts] == [b"IHDR", b"IDAT", b"IEND"]
    assert encode(DIGIT)[8:] == b"".join(chunk(*part) for part in parts)


@given(st.integers(0, len(encode(DIGIT)) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(place: int, change: int) -> None:
    broken = bytearray(encode(DIGIT))
    broken[place] ^= change

    with pytest.raises(ValueError, match=BROKEN):
        list(chunks(rows_of([bytes(broken)])))


@given(st.integers(0, 3), st.integers(0, len(encode(DIGIT)) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unseen_in_any_of_several_files(
    file: int, place: int, change: int
) -> None:
    broken = rows_of([encode(each) for each in (DIGIT, DIGIT, 255 - DIGIT, DIGIT)]).copy()
    assert len(list(chunks(broken))) == 3
    broken[file, place] ^= change

    with pytest.raises(ValueError, match=r"^(it|the chunk at byte \d+|files) "):
        list(chunks(broken))


@given(st.integers(0, len(encode(DIGIT)) - 1))
def test_a_file_that_was_cut_short_is_none(length: int) -> None:
    with pytest.raises(ValueError, match=BROKEN):
        list(chunks(rows_of([encode(DIGIT)[:length]])))


def test_nothing_may_follow_the_last_chunk() -> None:
    with pytest.raises(ValueError, match="goes on"):
        list(chunks(rows_of([encode(DIGIT) + b"\0"])))
