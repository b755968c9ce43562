"""The distance between two sets of records, each seen as one Gaussian."""

from __future__ import annotations

from torch import Tensor, nn


def frechet_distance(generated: Tensor, held_out: Tensor) -> float:
    """The squared Fréchet distance between Gaussians fitted to two sets of features.

    Both are (N, D), N at least 2; computed in float64. Heusel et al. 2017,
    https://arxiv.org/abs/1706.08500. With N below D the covariance is singular, and with few
    records the figure is biased upwards: compare figures of equal counts only.
    """
    # Takes 2 s to import, which a job that asks for other metrics need not pay.
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature=_AlreadyExtracted(generated.shape[1]))
    distance.update(held_out.double(), real=True)
    distance.update(generated.double(), real=False)
    # Rounding leaves equal sets a hair below 0.
    return float(distance.compute().clamp(min=0))


class _AlreadyExtracted(nn.Identity):
    """Stands where torchmetrics would put its own feature network."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size
