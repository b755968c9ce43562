from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aigc.metrics.diversity import (
    class_balance_max,
    class_balance_min,
    class_shares,
    inception_score,
)


def certain(*classes: int) -> Tensor:
    return torch.eye(4)[list(classes)]


def test_the_inception_score_of_one_class_is_one() -> None:
    assert inception_score(certain(2, 2, 2)) == pytest.approx(1.0)


def test_the_inception_score_of_undecided_samples_is_one() -> None:
    assert inception_score(torch.full((8, 4), 0.25)) == pytest.approx(1.0)


def test_the_inception_score_of_certain_and_balanced_samples_is_the_number_of_classes() -> None:
    assert inception_score(certain(0, 1, 2, 3, 3, 2, 1, 0)) == pytest.approx(4.0)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`:UserWarning")
@pytest.mark.filterwarnings("ignore:std\\(\\):UserWarning")
def test_the_inception_score_equals_torchmetrics_without_splits() -> None:
    from torchmetrics.image.inception import InceptionScore

    logits = 3 * torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    reference = InceptionScore(feature=nn.Identity(), splits=1)
    reference.update(logits)
    expected = float(reference.compute()[0])
    assert inception_score(logits.softmax(dim=1)) == pytest.approx(expected, rel=1e-5)


def test_class_shares_count_the_likeliest_class() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8], [0.5, 0.1, 0.4], [0.9, 0.1, 0]])
    assert class_shares(probabilities).tolist() == [0.75, 0.0, 0.25]


def test_class_balance_is_the_rarest_and_the_most_frequent_share() -> None:
    probabilities = certain(0, 0, 0, 1, 1, 2, 2, 3)
    assert class_balance_min(probabilities) == 1 / 8
    assert class_balance_max(probabilities) == 3 / 8


def test_class_balance_sees_missing_classes() -> None:
    assert class_balance_min(certain(0, 0)) == 0.0
    assert class_balance_max(certain(0, 0)) == 1.0
