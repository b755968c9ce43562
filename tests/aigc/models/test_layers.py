from __future__ import annotations

import pytest
import torch

from aigc.errors import ModalityUnsupported, ModelError
from aigc.layout import Layout
from aigc.models.layers import ConvDecoder, ConvEncoder, halvings, with_classes


@pytest.mark.parametrize(("side", "count"), [(8, 1), (16, 1), (28, 2), (32, 2), (64, 3)])
def test_images_are_halved_until_small(side: int, count: int) -> None:
    assert halvings(Layout(modality="image", shape=(1, side, side))) == count


@pytest.mark.parametrize("shape", [(784,), (3, 30, 30), (1, 9, 9), (1, 2, 2), (4, 3, 32, 32)])
def test_a_shape_that_cannot_be_halved_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModalityUnsupported) as refusal:
        halvings(Layout(modality="image", shape=shape))
    assert refusal.value.next_step


def test_decoder_gives_back_the_shape_the_encoder_took() -> None:
    layout = Layout(modality="image", shape=(3, 16, 32))
    encoder, decoder = ConvEncoder(layout, 8), ConvDecoder(layout, 5, 8)
    assert decoder(torch.zeros(2, 5)).shape == (2, 3, 16, 32)
    assert encoder(torch.zeros(2, 3, 16, 32)).shape == (2, encoder.feature_size)


def test_labels_stand_beside_the_values_as_one_hot() -> None:
    joined = with_classes(torch.zeros(2, 1), torch.tensor([2, 0]), 3)
    assert joined.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    assert with_classes(torch.zeros(2, 1), torch.tensor([2, 0]), 0).shape == (2, 1)


def test_a_conditional_model_without_labels_says_so() -> None:
    with pytest.raises(ModelError, match="no labels"):
        with_classes(torch.zeros(2, 1), None, 3)
