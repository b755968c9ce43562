from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import COPIES, moved, trimmed_unevenly
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.errors import ArtifactCorrupt, ModelError
from aigc.generation.screening import Memory, Nearest, copied_spans
from aigc.generation.screening.feature_space import features_of
from aigc.generation.screening.image_memory import Framed, best_cut_out, cut_out_limit_of
from aigc.metrics.distances import distances
from aigc.modalities.image import ImageModality
from aigc.models import build
from aigc.models.classifier import Classifier, ClassifierConfig
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World


def extractor_of(dataset: Dataset, steps: int) -> Classifier:
    """The classifier of the shipped recipe, trained for so many steps."""
    model = build(ClassifierConfig(), dataset.manifest.layout, 0)
    assert isinstance(model, Classifier)
    quiet = Runtime(World(), lambda *_: None, lambda *_: None, lambda *_: None)
    config = TrainingConfig(steps=steps, batch_size=128, seed=0)
    train(TrainingState(model), Stream(dataset, "train", 128, 0), config, quiet)
    return model.eval()


@pytest.fixture(scope="module")
def extractor(digits: Dataset) -> Classifier:
    return extractor_of(digits, steps=30)


@pytest.fixture(scope="module")
def training(digits: Dataset) -> Tensor:
    return digits.records("train").stored


@pytest.fixture(scope="module")
def held_out(digits: Dataset) -> Tensor:
    return digits.records("test").stored


@pytest.fixture(scope="module")
def memory(digits: Dataset, training: Tensor, extractor: Classifier) -> Memory:
    return Memory.of(training, digits.manifest.layout, extractor)


def same(one: Nearest, other: Nearest) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(each, another) for each, another in pairs)


@pytest.mark.parametrize("copying", ["exact", "flipped"])
def test_copies_of_small_digits_are_caught_and_named(
    copying: str, memory: Memory, training: Tensor, extractor: Classifier
) -> None:
    found = memory.nearest(COPIES[copying](training), extractor)

    assert found.copied.all()
    assert (found.index == torch.arange(len(training))).float().mean() > 0.99


def test_moved_copies_of_digits_with_a_margin_are_caught_and_named(
    training: Tensor, held_out: Tensor
) -> None:
    """The small digits fill their images; a margin leaves room to move them."""
    known = torch.nn.functional.pad(training, (2, 2, 2, 2))
    limit = cut_out_limit_of(known)
    framed = Framed.of(known)
    rows, likeness = best_cut_out(moved(known), framed)

    assert (likeness >= limit).all()
    assert (rows == torch.arange(len(known))).float().mean() > 0.99
    fresh = torch.nn.functional.pad(held_out, (2, 2, 2, 2))
    assert (best_cut_out(fresh, framed)[1] >= limit).float().mean() <= 0.01


def test_held_out_digits_are_hardly_ever_accused(
    memory: Memory, held_out: Tensor, extractor: Classifier
) -> None:
    assert memory.nearest(held_out, extractor).copied.float().mean() <= 0.02


def test_who_copies_nothing_is_told_of_the_nearest_in_feature_space(
    memory: Memory, held_out: Tensor, extractor: Classifier
) -> None:
    found = memory.nearest(held_out, extractor)
    seen = features_of(held_out, extractor).double()
    apart = distances(seen, memory.records.features.double())

    honest = ~found.copied
    assert torch.equal(found.index[honest], apart.argmin(dim=1)[honest])
    assert torch.allclose(found.distance[honest].double(), apart.amin(dim=1)[honest], atol=1e-4)
    assert found.index.dtype == torch.int64
    assert found.distance.dtype == torch.float32


def test_features_in_16_bits_name_a_neighbour_that_is_hardly_farther_than_the_nearest(
    memory: Memory, training: Tensor, held_out: Tensor, extractor: Classifier
) -> None:
    found = memory.nearest(held_out, extractor)
    with torch.inference_mode():
        exact, known = (
            extractor.features(ImageModality().decode(each)).double()
            for each in (held_out, training)
        )
    apart = distances(exact, known)
    honest = ~found.copied
    told = apart.gather(1, found.index[:, None])[:, 0][honest]

    assert (told <= 1.02 * apart.amin(dim=1)[honest]).all()
    assert torch.allclose(told, found.distance[honest].double(), rtol=0.05)


def test_what_is_said_does_not_depend_on_the_samples_beside_it(
    memory: Memory, held_out: Tensor, training: Tensor, extractor: Classifier
) -> None:
    samples = torch.cat([held_out, COPIES["noised"](training[:200])])
    whole = memory.nearest(samples, extractor)
    for size in (1, 7, 100):
        parts = [memory.nearest(part, extractor) for part in samples.split(size)[:20]]
        count = min(len(samples), 20 * size)
        for name in ("index", "distance", "copied"):
            found = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(found, getattr(whole, name)[:count])


def test_survives_being_saved(
    memory: Memory, held_out: Tensor, extractor: Classifier, tmp_path: Path
) -> None:
    digest = memory.save(tmp_path / "memory")
    again = Memory.load(tmp_path / "memory")

    assert again.layout == memory.layout
    assert same(again.nearest(held_out, extractor), memory.nearest(held_out, extractor))
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
    digits: Dataset, training: Tensor, extractor: Classifier, memory: Memory, held_out: Tensor
) -> None:
    twice = Memory.of(torch.cat([training, training]), digits.manifest.layout, extractor)

    assert twice.nearest(training, extractor).copied.all()
    assert twice.nearest(held_out, extractor).copied.float().mean() <= 0.02


def test_images_of_one_colour_copy_nothing(memory: Memory, extractor: Classifier) -> None:
    blank = torch.full((3, 1, 8, 8), 128, dtype=torch.uint8)

    assert not memory.nearest(blank, extractor).copied.any()


def test_no_samples_are_no_answer(memory: Memory, extractor: Classifier) -> None:
    found = memory.nearest(torch.empty(0, 1, 8, 8, dtype=torch.uint8), extractor)

    assert [len(each) for each in vars(found).values()] == [0, 0, 0]


def test_images_need_an_extractor(memory: Memory, held_out: Tensor) -> None:
    with pytest.raises(ModelError, match="there is none"):
        memory.nearest(held_out, None)


def test_images_have_no_spans(memory: Memory) -> None:
    assert copied_spans("A text is no image", memory) == []


@pytest.mark.slow
def test_planted_copies_of_mnist_are_caught(tmp_path: Path) -> None:
    dataset = import_dataset(tmp_path, "mnist-5k")[0]
    training, held_out = dataset.records("train").stored, dataset.records("test").stored
    extractor = extractor_of(dataset, steps=600)
    memory = Memory.of(training, dataset.manifest.layout, extractor)
    rates = {}
    for name, copying in (COPIES | {"moved": moved, "uneven": trimmed_unevenly}).items():
        found = memory.nearest(copying(training), extractor)
        own = found.index == torch.arange(len(training))
        rates[name] = (found.copied & own).float().mean().item()
    accused = memory.nearest(held_out, extractor).copied.float().mean().item()
    print(f"caught {rates}, of {len(held_out)} held-out digits accused {accused:.4f}")

    assert memory.nearest(training, extractor).copied.all()
    assert min(rates.values()) >= 0.95
    # Without taking noise away it is 0.96.
    assert rates["noised"] >= 0.98
    assert accused <= 0.01
