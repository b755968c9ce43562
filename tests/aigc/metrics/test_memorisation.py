from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aigc.errors import DataError
from aigc.metrics import distances
from aigc.metrics.memorisation import neighbour_ratio


def noise(seed: int, rows: int, size: int = 16) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


TRAINING, HELD_OUT = noise(1, 600), noise(2, 200)


def test_copies_of_the_training_data_score_zero() -> None:
    assert neighbour_ratio(TRAINING[:100].clone(), HELD_OUT, TRAINING) == 0.0


def test_a_fresh_draw_scores_one() -> None:
    assert neighbour_ratio(noise(3, 200), HELD_OUT, TRAINING) == pytest.approx(1.0, abs=0.1)


def test_noisy_copies_score_below_one_and_far_samples_above() -> None:
    noisy = TRAINING[:200] + 0.3 * noise(4, 200)
    assert 0.1 < neighbour_ratio(noisy, HELD_OUT, TRAINING) < 0.7
    assert neighbour_ratio(noise(5, 200) + 5, HELD_OUT, TRAINING) > 3


def test_is_the_ratio_of_the_medians() -> None:
    training = torch.tensor([[0.0], [100.0]])
    generated = torch.tensor([[1.0], [2.0], [97.0]])
    held_out = torch.tensor([[4.0], [5.0], [90.0], [107.0]])
    assert neighbour_ratio(generated, held_out, training) == pytest.approx(2 / 6)


def test_is_the_same_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = neighbour_ratio(noise(3, 50), HELD_OUT, TRAINING)
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 2000)
    assert neighbour_ratio(noise(3, 50), HELD_OUT, TRAINING) == pytest.approx(whole, rel=1e-12)


def test_held_out_records_that_are_training_records_are_an_error() -> None:
    with pytest.raises(DataError, match=r"exact copies.*splits"):
        neighbour_ratio(HELD_OUT, TRAINING[:100], TRAINING)


def test_an_empty_training_split_is_an_error() -> None:
    with pytest.raises(DataError, match="training split"):
        neighbour_ratio(HELD_OUT, HELD_OUT, torch.empty(0, 0))
