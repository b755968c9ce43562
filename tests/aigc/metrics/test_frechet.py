from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from aigc.metrics.frechet import frechet_distance


def exactly_gaussian(rows: int, mean: list[float], deviation: list[float]) -> Tensor:
    """Rows whose sample mean and (unbiased, diagonal) covariance are exactly the ones given."""
    noise = torch.randn(rows, len(mean), generator=torch.Generator().manual_seed(1)).double()
    orthogonal: Tensor = torch.linalg.qr(noise - noise.mean(dim=0)).Q * math.sqrt(rows - 1)
    return orthogonal * torch.tensor(deviation) + torch.tensor(mean)


def test_equals_the_closed_form_of_two_diagonal_gaussians() -> None:
    x = exactly_gaussian(300, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    y = exactly_gaussian(200, [1.0, 1.0, 0.0], [2.0, 2.0, 0.5])
    # Σ (mean difference)² + Σ (deviation difference)² = (1 + 0 + 4) + (1 + 0 + 6.25)
    assert frechet_distance(x, y) == pytest.approx(12.25, rel=1e-6)


def test_equals_the_closed_form_when_the_features_are_correlated() -> None:
    x = exactly_gaussian(300, [0.0, 0.0], [1.0, 3.0])
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    # The covariances are A = diag(1, 9) and R A Rᵀ; for 2 × 2, tr √(AB) = √(tr AB + 2 √det AB).
    rotated = x @ turn.T
    a, b = torch.diag(torch.tensor([1.0, 9.0]).double()), rotated.T.cov()
    root = math.sqrt(float((a @ b).trace()) + 2 * 9.0)
    assert frechet_distance(x, rotated) == pytest.approx(20 - 2 * root, rel=1e-6)


def test_is_zero_between_equal_sets_and_never_below() -> None:
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(2))
    assert 0 <= frechet_distance(x, x) < 1e-5


def test_is_finite_for_a_collapsed_set() -> None:
    x = exactly_gaussian(100, [0.0, 0.0], [1.0, 2.0])
    collapsed = torch.ones(50, 2)
    # No covariance is left: |mean difference|² + tr(diag(1, 4)).
    assert frechet_distance(collapsed, x) == pytest.approx(2 + 5, rel=1e-6)


def test_is_finite_with_fewer_records_than_features() -> None:
    x = torch.randn(10, 64, generator=torch.Generator().manual_seed(3))
    y = torch.randn(10, 64, generator=torch.Generator().manual_seed(4))
    assert math.isfinite(frechet_distance(x, y))


def test_does_not_depend_on_the_order_of_the_records() -> None:
    x = torch.randn(100, 8, generator=torch.Generator().manual_seed(5))
    y = torch.randn(100, 8, generator=torch.Generator().manual_seed(6))
    assert frechet_distance(x.flip(0), y) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_torchmetrics_is_imported_only_by_who_asks_for_the_figure() -> None:
    code = "import sys, aigc.metrics; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
