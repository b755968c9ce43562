"""The distance between two sets of records without assuming that they are Gaussian."""

from __future__ import annotations

from torch import Tensor

from aigc.metrics.distances import chunks


def kernel_distance(generated: Tensor, held_out: Tensor) -> float:
    """The squared maximum mean discrepancy under the kernel (x·y / D + 1)³, unbiased.

    The Kernel Inception Distance of Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401, over
    all pairs in place of random subsets: the same expectation, less variance and no seed. Both
    are (N, D), N at least 2. Unlike Fréchet's it has no bias at small N, and around 0 it may be
    slightly negative.
    """
    x, y = generated.double(), held_out.double()
    return _mean_within(x) + _mean_within(y) - 2 * _sum(x, y) / (len(x) * len(y))


def _mean_within(rows: Tensor) -> float:
    with_itself = _cubed(rows.square().sum(dim=1), rows.shape[1]).sum()
    return (_sum(rows, rows) - float(with_itself)) / (len(rows) * (len(rows) - 1))


def _sum(x: Tensor, y: Tensor) -> float:
    return sum(float(_cubed(chunk @ y.T, x.shape[1]).sum()) for chunk in chunks(x, len(y)))


def _cubed(products: Tensor, size: int) -> Tensor:
    return (products / size + 1) ** 3
