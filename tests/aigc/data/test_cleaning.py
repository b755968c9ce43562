from __future__ import annotations

import io
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from aigc.data.cleaning import (
    FOLLOWERS,
    SIGNATURES,
    Bytes,
    first_equal,
    image_signatures,
    near_pairs,
    text_signatures,
)
from aigc.data.importers.bundled import MNIST_5K

IMAGE, TEXT = SIGNATURES["image"], SIGNATURES["text"]


def random_texts(count: int, length: int, seed: int = 0) -> Bytes:
    words = np.array(["lorem", "ipsum", "dolor", "sit", "amet", "elit", "sed", "do", "magna", "ut"])
    source = np.random.default_rng(seed)
    texts = [" ".join(source.choice(words, length // 3)).encode()[:length] for _ in range(count)]
    return np.stack([np.frombuffer(text, np.uint8) for text in texts])


@pytest.fixture(scope="module")
def digits() -> tuple[Bytes, np.ndarray]:
    return MNIST_5K.arrays()


def as_jpeg(image: Bytes) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))[None]


def darker(image: Bytes) -> Bytes:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image[0])).enhance(0.9))[None]


def scaled_there_and_back(image: Bytes) -> Bytes:
    height, width = image.shape[1:]
    larger = Image.fromarray(image[0]).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
    return np.asarray(larger.resize((width, height), Image.Resampling.BICUBIC))[None]


@pytest.mark.parametrize("change", [as_jpeg, darker, scaled_there_and_back])
def test_changed_copies_of_images_are_found(digits, change) -> None:
    images = digits[0][::25]
    stored = np.concatenate([images, np.stack([change(image) for image in images])])
    pairs = near_pairs(image_signatures(stored), IMAGE)[:, :2].tolist()

    planted = [[row, row + len(images)] for row in range(len(images))]
    assert sum(pair in pairs for pair in planted) >= 0.98 * len(planted)
    assert [pair for pair in pairs if pair not in planted] == []


def test_different_digits_of_a_class_are_no_near_duplicates(digits) -> None:
    assert len(near_pairs(image_signatures(digits[0]), IMAGE)) == 0


def test_images_of_one_size_and_colour_have_signatures_of_one_shape() -> None:
    source = np.random.default_rng(0)
    for channels, height, width in [(1, 8, 8), (3, 64, 48), (3, 1, 300)]:
        stored = source.integers(0, 256, (2, channels, height, width), dtype=np.uint8)
        assert image_signatures(stored).shape == (2, *IMAGE.shape)


def test_a_signature_does_not_depend_on_its_neighbours(digits) -> None:
    images = digits[0][:64]
    alone = np.concatenate([image_signatures(image[None]) for image in images])

    assert (alone == image_signatures(images)).all()


@pytest.mark.parametrize(("changed", "share"), [(1, 1.0), (6, 0.95)])
def test_changed_copies_of_texts_are_found(changed: int, share: float) -> None:
    texts = random_texts(60, 1024)
    source, copies = np.random.default_rng(1), texts.copy()
    for copy in copies:
        copy[source.integers(0, 1024, changed)] = ord("#")
    pairs = near_pairs(text_signatures(np.concatenate([texts, copies])), TEXT)[:, :2].tolist()

    planted = [[row, row + len(texts)] for row in range(len(texts))]
    assert sum(pair in pairs for pair in planted) >= share * len(planted)
    assert [pair for pair in pairs if pair not in planted] == []


def test_texts_shorter_than_a_shingle_have_signatures() -> None:
    stored = np.zeros((3, 16), dtype=np.uint8)
    stored[0, :2], stored[1, :2] = list(b"ab"), list(b"ac")

    assert text_signatures(stored).shape == (3, *TEXT.shape)
    assert len(near_pairs(text_signatures(stored), TEXT)) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_signatures_that_differ_little_are_never_missed(seed: int, bits: int) -> None:
    source = np.random.default_rng(seed)
    one = source.integers(0, 256, (1, *IMAGE.shape), dtype=np.uint8)
    flipped = np.unpackbits(one)
    flipped[source.choice(flipped.size, bits, replace=False)] ^= 1
    both = np.concatenate([one, np.packbits(flipped).reshape(one.shape)])

    assert near_pairs(both, IMAGE).tolist() == [[0, 1, bits]]


def test_a_difference_in_as_many_bands_as_allowed_is_found() -> None:
    assert IMAGE.shape[0] > IMAGE.limit
    signatures = np.zeros((2, *IMAGE.shape), dtype=np.uint8)
    signatures[1, : IMAGE.limit, 0] = 1

    assert near_pairs(signatures, IMAGE).tolist() == [[0, 1, IMAGE.limit]]


def test_signatures_that_differ_more_are_no_pair() -> None:
    signatures = np.zeros((2, *IMAGE.shape), dtype=np.uint8)
    signatures[1, 0] = 0xFF
    signatures[1, 1, 0] = 0b1000_0000
    assert len(near_pairs(signatures, IMAGE)) == 0


def test_the_work_on_many_equal_signatures_is_not_quadratic_and_flags_each() -> None:
    count = 5000
    pairs = near_pairs(np.zeros((count, *IMAGE.shape), dtype=np.uint8), IMAGE)

    assert len(pairs) <= FOLLOWERS * count
    assert set(pairs[:, :2].flatten().tolist()) == set(range(count))


def test_no_signatures_have_no_pairs() -> None:
    assert near_pairs(np.empty((0, *IMAGE.shape), dtype=np.uint8), IMAGE).shape == (0, 3)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_a_duplicate_names_the_first_of_its_kind(values: list[int]) -> None:
    hashes = np.array([[7] * 31 + [value] for value in values], dtype=np.uint8).reshape(-1, 32)
    where = defaultdict[int, list[int]](list)
    for row, value in enumerate(values):
        where[value].append(row)

    assert first_equal(hashes).tolist() == [where[value][0] for value in values]
