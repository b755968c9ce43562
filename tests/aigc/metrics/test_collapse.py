from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.metrics.collapse import CollapseConfig, collapse_figures, judge_collapse

LIMITS = CollapseConfig(recall_at_least=0.02, class_share_at_most=0.8, accuracy_at_most=0.99)
HEALTHY = {"recall": 0.4, "class_balance_max": 0.2, "accuracy": 0.8}


@pytest.fixture(scope="module")
def halves(digits: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """300 real digits, 300 others, and the labels of the others."""
    batch, _ = next(Stream(digits, "train", 600, seed=0).batches())
    assert batch.labels is not None
    return batch.records[:300], batch.records[300:], batch.labels[300:]


def test_real_records_are_no_collapse(halves: tuple[Tensor, Tensor, Tensor]) -> None:
    figures = collapse_figures(*halves)
    assert figures["recall"] > 0.5
    assert 0.05 < figures["class_balance_min"] < 0.1 < figures["class_balance_max"] < 0.2
    assert judge_collapse(figures, LIMITS) is None


def test_one_image_is_a_collapse(halves: tuple[Tensor, Tensor, Tensor]) -> None:
    generated, real, labels = halves
    figures = collapse_figures(generated[:1].expand_as(generated), real, labels)
    assert figures == {"recall": 0.0, "class_balance_min": 0.0, "class_balance_max": 1.0}
    assert judge_collapse(figures, LIMITS) == "recall is 0.000, below 0.02"


def test_one_class_is_a_collapse(halves: tuple[Tensor, Tensor, Tensor]) -> None:
    _, real, labels = halves
    figures = collapse_figures(real[labels == 4], real, labels)
    assert figures["recall"] > 0.02
    assert figures["class_balance_max"] == 1.0
    reason = judge_collapse(figures, LIMITS)
    assert reason == "one class has 1.000 of the samples, above 0.8"


def test_without_classes_only_recall_is_taken(halves: tuple[Tensor, Tensor, Tensor]) -> None:
    generated, real, labels = halves
    assert list(collapse_figures(generated, real, None)) == ["recall"]
    assert list(collapse_figures(generated, real, torch.zeros_like(labels))) == ["recall"]


@pytest.mark.parametrize(
    ("name", "worse", "reason"),
    [
        ("recall", 0.01, "recall is 0.010, below 0.02"),
        ("class_balance_max", 0.9, "one class has 0.900 of the samples, above 0.8"),
        ("accuracy", 0.995, "D's accuracy is 0.995, above 0.99"),
    ],
)
def test_each_limit_is_a_reason(name: str, worse: float, reason: str) -> None:
    assert judge_collapse(HEALTHY, LIMITS) is None
    assert judge_collapse(HEALTHY | {name: worse}, LIMITS) == reason
