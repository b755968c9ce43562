from __future__ import annotations

import pytest
import torch

from aigc.errors import ModelError
from aigc.layout import Layout
from aigc.models import build
from aigc.models.classifier import Classifier, ClassifierConfig, shifted
from aigc.models.contract import Batch
from aigc.seeding import Draws

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 30, 45)]


def built(shape: tuple[int, ...]) -> Classifier:
    model = build(
        ClassifierConfig(), Layout(modality="image", shape=shape, labels=("a", "b", "c")), 0
    )
    assert isinstance(model, Classifier)
    return model


@pytest.mark.parametrize("shape", SHAPES)
def test_features_and_logits_have_their_sizes(shape: tuple[int, ...]) -> None:
    model, records = built(shape), torch.zeros(5, *shape)
    assert model.features(records).shape == (5, model.feature_size)
    assert model.features(records).dtype == torch.float32
    assert model.logits(records).shape == (5, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_are_the_same_to_the_bit_with_gradients_and_without(
    shape: tuple[int, ...],
) -> None:
    model = built(shape).eval()
    records = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        without = model.features(records)
    assert torch.equal(model.features(records), without)


def test_a_classifier_without_labels_is_refused() -> None:
    with pytest.raises(ModelError, match="needs labels"):
        build(ClassifierConfig(), Layout(modality="image", shape=(1, 8, 8)), 0)


def test_a_classifier_makes_no_samples() -> None:
    model = built((1, 8, 8))
    assert model.noise_size == 0
    with pytest.raises(ModelError, match="no samples"):
        model.sample(torch.zeros(1, 0), None)


def test_images_move_by_one_pixel_at_most_in_every_direction() -> None:
    images = torch.full((200, 1, 5, 5), -1.0)
    images[:, :, 2, 2] = 1.0
    moved = shifted(images, Draws(0, 0))
    assert (moved == 1).sum().item() == 200
    _, _, rows, columns = torch.nonzero(moved == 1, as_tuple=True)
    places = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}


def test_a_classifier_learns_to_tell_bright_from_dark() -> None:
    model, labels = built((1, 8, 8)), torch.arange(30) % 2
    records = (labels * 2.0 - 1).reshape(-1, 1, 1, 1).expand(30, 1, 8, 8)
    (phase,) = model.phases()
    optimizer = torch.optim.Adam(phase.parameters, lr=1e-2)
    for step in range(20):
        optimizer.zero_grad()
        figures = phase.loss(Batch(records, labels), Draws(0, step), 0.0)
        figures["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert figures["accuracy"] == 1.0
