from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aigc.metrics import distances
from aigc.metrics.kernel import kernel_distance


def noise(seed: int, rows: int, size: int = 8) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_equals_the_sums_over_pairs_written_out() -> None:
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0], [3.0]])
    within_x = 3**3
    within_y = (2 * (0 + 1) ** 3 + 2 * 1**3 + 2 * 4**3) / 6
    between = (1 + 2**3 + 4**3 + 1 + 3**3 + 7**3) / 6
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_equals_torchmetrics_with_one_subset_of_everything() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = noise(1, 200).double(), noise(2, 200).double() * 2
    reference = KernelInceptionDistance(feature=nn.Identity(), subsets=1, subset_size=200)
    reference.update(y, real=True)
    reference.update(x, real=False)
    assert kernel_distance(x, y) == pytest.approx(float(reference.compute()[0]), rel=1e-5)


def test_is_near_zero_for_one_distribution_and_grows_with_the_shift() -> None:
    figures = [kernel_distance(noise(1, 1000) + shift, noise(2, 1000)) for shift in (0, 0.5, 1, 2)]
    assert abs(figures[0]) < 0.01
    assert figures[1] > 0.1
    assert figures == sorted(figures)


def test_is_the_same_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kernel_distance(noise(1, 90), noise(2, 70) + 1)
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 200)
    assert kernel_distance(noise(1, 90), noise(2, 70) + 1) == pytest.approx(whole, rel=1e-12)


def test_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    kernel_distance(noise(1, 20), noise(2, 20))
    assert torch.equal(torch.get_rng_state(), before)
