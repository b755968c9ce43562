from __future__ import annotations

import pytest
import torch

from aigc.metrics import distances
from aigc.metrics.distances import chunks, nearest_distances


def test_chunks_hold_every_row_once_and_no_more_pairs_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 35)
    rows = torch.arange(23)
    parts = list(chunks(rows, 10))
    assert torch.equal(torch.cat(parts), rows)
    assert max(len(part) for part in parts) == 3


def test_a_chunk_has_at_least_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 5)
    assert [len(part) for part in chunks(torch.arange(3), 1000)] == [1, 1, 1]


def test_the_nearest_distance_is_the_smallest_of_all() -> None:
    points, reference = torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([[3.0, 4.0], [9, 0]])
    assert nearest_distances(points, reference).tolist() == [5.0, 1.0]


def test_a_copy_is_at_distance_zero_exactly_however_large_the_features() -> None:
    reference = 1000 + 1000 * torch.rand(200, 64, generator=torch.Generator().manual_seed(1))
    assert nearest_distances(reference[50:80], reference).tolist() == [0.0] * 30
