from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import COPIES, moved, trimmed_unevenly
from torch import Tensor
from torch.nn.functional import interpolate, pad

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.errors import ArtifactCorrupt
from aigc.generation.screening import Memory, Nearest, copied_spans
from aigc.generation.screening.frames import either_side, framed_crops, frames_of
from aigc.generation.screening.image_memory import MARGIN, ImageMemory
from aigc.seeding import generator


@pytest.fixture(scope="module")
def training(digits: Dataset) -> Tensor:
    return digits.records("train").stored


@pytest.fixture(scope="module")
def held_out(digits: Dataset) -> Tensor:
    return digits.records("test").stored


@pytest.fixture(scope="module")
def memory(digits: Dataset, training: Tensor) -> Memory:
    return Memory.of(training, digits.manifest.layout)


def same(one: Nearest, other: Nearest) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(each, another) for each, another in pairs)


@pytest.mark.parametrize("copying", ["exact", "flipped"])
def test_copies_of_small_digits_are_caught_and_named(
    copying: str, memory: Memory, training: Tensor
) -> None:
    found = memory.nearest(COPIES[copying](training))

    assert found.copied.all()
    assert (found.index == torch.arange(len(training))).float().mean() > 0.99


def test_moved_copies_of_digits_with_a_margin_are_caught_and_named(
    training: Tensor, held_out: Tensor
) -> None:
    """The small digits fill their images; a margin leaves room to move them."""
    known = pad(training, (2, 2, 2, 2))
    memory = ImageMemory.of(known)
    found = memory.nearest(moved(known))

    assert found.copied.all()
    assert (found.index == torch.arange(len(known))).float().mean() > 0.99
    fresh = pad(held_out, (2, 2, 2, 2))
    assert memory.nearest(fresh).copied.float().mean() <= 0.01


def test_held_out_digits_are_hardly_ever_accused(memory: Memory, held_out: Tensor) -> None:
    assert memory.nearest(held_out).copied.float().mean() <= 0.02


def test_every_sample_is_told_of_the_record_that_looks_most_like_it(
    memory: Memory, held_out: Tensor
) -> None:
    records = memory.records
    assert isinstance(records, ImageMemory)
    known = records.known
    looks = either_side(frames_of(held_out, known.ground).looks)
    alike = looks.double() @ either_side(known.frames.looks).double().T

    found = memory.nearest(held_out)

    assert (found.index == known.rows[alike.argmax(dim=1)]).float().mean() >= 0.99
    assert torch.allclose(found.distance.double(), 1 - alike.amax(dim=1), atol=2 * MARGIN)
    assert found.index.dtype == torch.int64
    assert found.distance.dtype == torch.float32


def test_copies_are_near_whichever_side_is_left(memory: Memory, training: Tensor) -> None:
    for copies in (training, training.flip(-1)):
        assert (memory.nearest(copies).distance <= 1e-6).all()


def placed(images: Tensor, down: int, across: int) -> Tensor:
    """Images 8 × 8 in one place of black ones of 28 × 28."""
    return pad(images, (across, 20 - across, down, 20 - down))


def test_of_records_that_are_moved_copies_of_one_another_the_right_one_is_named(
    training: Tensor,
) -> None:
    places = [(10, 10), (4, 10), (10, 16), (15, 3)]
    records = torch.cat([placed(training[:100], *place) for place in places])
    memory = ImageMemory.of(records)

    for copies in (records, records.flip(-1)):
        found = memory.nearest(copies)
        assert found.copied.all()
        assert (found.index == torch.arange(len(records))).float().mean() >= 0.99


def test_copies_of_one_bright_pixel_are_caught_whichever_side_is_left() -> None:
    records = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
    records[range(20), 0, range(20), range(3, 23)] = 255
    memory = ImageMemory.of(records)

    assert memory.nearest(records).copied.all()
    assert memory.nearest(records.flip(-1)).copied.all()


@pytest.mark.parametrize("shape", [(1, 1, 16), (1, 16, 1), (3, 1, 40), (1, 2, 2), (1, 2, 30)])
def test_copies_of_the_smallest_images_are_caught_and_nothing_else(shape: tuple[int, ...]) -> None:
    noise = torch.randint(0, 256, (560, *shape), generator=generator("smallest"))
    records, others = noise.to(torch.uint8).split([60, 500])
    memory = ImageMemory.of(records)
    found = memory.nearest(torch.cat([records, records.flip(-1)]))

    assert found.copied.all()
    assert found.index.tolist() == [*range(60), *range(60)]
    assert not memory.nearest(others).copied.any()


def test_one_record_is_enough_to_be_copied(training: Tensor) -> None:
    assert ImageMemory.of(training[:1]).nearest(training[:1]).copied.all()


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images of that height and width, in the middle of black ones of 28 × 28."""
    large = interpolate(images.float(), (side, side), mode="bilinear").to(torch.uint8)
    return pad(large, ((28 - side) // 2,) * 4)


def test_crops_that_look_like_their_records_are_left_out_only_where_a_ground_is_taken_off(
    training: Tensor,
) -> None:
    """Their margins are black: all that is cut off is ground."""
    records = enlarged(training[:100], 14)

    assert len(framed_crops(records, 3)[1]) < 150
    assert len(framed_crops(records, 0)[1]) == 200


def test_a_crop_lies_in_its_record_where_it_was_cut_out(training: Tensor) -> None:
    records = enlarged(training[:100], 14)
    whole, (both, _) = frames_of(records, 0), framed_crops(records, 0)
    crops = both.take(slice(100, 200))

    assert (crops.centres - whole.centres).abs().max() < 0.1
    assert (crops.spreads - whole.spreads).abs().max() < 0.1


def test_digits_that_fill_their_images_are_caught_when_they_are_cropped(training: Tensor) -> None:
    """They look less alike than noised ones, by which alone the worth of a close look would be
    learned."""
    records = enlarged(training[:400], 28)
    found = ImageMemory.of(records).nearest(COPIES["cropped by 2"](records))

    assert found.copied.float().mean() >= 0.95


def test_flipped_crops_are_caught(training: Tensor) -> None:
    known = pad(training, (2, 2, 2, 2))
    found = ImageMemory.of(known).nearest(moved(known).flip(-1))

    assert found.copied.all()


@pytest.mark.parametrize(("level", "ground"), [(0, 3), (90, 0)])
def test_the_records_of_noised_copies_are_found_on_a_black_ground_and_on_a_grey_one(
    level: int, ground: int, training: Tensor
) -> None:
    memory = ImageMemory.of(enlarged(training, 20).clamp(min=level))

    found = memory.nearest(COPIES["noised"](memory.known.images))

    assert memory.known.ground == ground
    assert (found.index == torch.arange(len(training))).float().mean() >= 0.95


def test_what_is_said_does_not_depend_on_the_samples_beside_it(
    memory: Memory, held_out: Tensor, training: Tensor
) -> None:
    samples = torch.cat([held_out, COPIES["noised"](training[:200])])
    whole = memory.nearest(samples)
    for size in (1, 7, 100):
        parts = [memory.nearest(part) for part in samples.split(size)[:20]]
        count = min(len(samples), 20 * size)
        for name in ("index", "distance", "copied"):
            found = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(found, getattr(whole, name)[:count])


def test_survives_being_saved(memory: Memory, held_out: Tensor, tmp_path: Path) -> None:
    digest = memory.save(tmp_path / "memory")
    again = Memory.load(tmp_path / "memory")

    assert again.layout == memory.layout
    assert same(again.nearest(held_out), memory.nearest(held_out))
    assert again.save(tmp_path / "again") == digest


def test_a_changed_byte_is_noticed(memory: Memory, tmp_path: Path) -> None:
    memory.save(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(ArtifactCorrupt, match="sha256"):
        Memory.load(tmp_path)


def test_records_that_are_there_twice_do_not_loosen_the_limits(
    digits: Dataset, training: Tensor, memory: Memory, held_out: Tensor
) -> None:
    twice = Memory.of(torch.cat([training, training]), digits.manifest.layout)

    assert twice.nearest(training).copied.all()
    assert twice.nearest(held_out).copied.float().mean() <= 0.02


def test_images_of_one_colour_copy_nothing(memory: Memory) -> None:
    blank = torch.full((3, 1, 8, 8), 128, dtype=torch.uint8)

    assert not memory.nearest(blank).copied.any()


def test_no_samples_are_no_answer(memory: Memory) -> None:
    found = memory.nearest(torch.empty(0, 1, 8, 8, dtype=torch.uint8))

    assert [len(each) for each in vars(found).values()] == [0, 0, 0]


def test_images_have_no_spans(memory: Memory) -> None:
    assert copied_spans("A text is no image", memory) == []


@pytest.mark.slow
def test_planted_copies_of_mnist_are_caught(tmp_path: Path) -> None:
    dataset = import_dataset(tmp_path, "mnist-5k")[0]
    training, held_out = dataset.records("train").stored, dataset.records("test").stored
    memory = Memory.of(training, dataset.manifest.layout)
    rates = {}
    for name, copying in (COPIES | {"moved": moved, "uneven": trimmed_unevenly}).items():
        found = memory.nearest(copying(training))
        own = found.index == torch.arange(len(training))
        rates[name] = (found.copied & own).float().mean().item()
    accused = memory.nearest(held_out).copied.float().mean().item()
    print(f"caught {rates}, of {len(held_out)} held-out digits accused {accused:.4f}")

    assert memory.nearest(training).copied.all()
    assert min(rates.values()) >= 0.95
    # Without taking noise away it is 0.96.
    assert rates["noised"] >= 0.98
    assert accused <= 0.01
