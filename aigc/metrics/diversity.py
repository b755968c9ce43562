"""Variety by the classes that the extractor sees in the samples; no held-out record is needed.

All take class probabilities, float, (N, classes), each row summing to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inception_score(probabilities: Tensor) -> float:
    """exp(mean KL(p(y|x) ‖ p(y))) over all samples at once, between 1 and the number of classes.

    Salimans et al. 2016, https://arxiv.org/abs/1606.03498, without the customary ten splits, which
    only add noise. Blind to variety within a class.
    """
    given = probabilities.double()
    overall = given.mean(dim=0)
    divergence = (torch.xlogy(given, given) - torch.xlogy(given, overall)).sum(dim=1)
    return float(divergence.mean().exp())


def class_shares(probabilities: Tensor) -> Tensor:
    """The share of samples whose likeliest class is each class, float64, (classes,)."""
    counts = torch.bincount(probabilities.argmax(dim=1), minlength=probabilities.shape[1])
    return counts.double() / len(probabilities)


def class_balance_min(probabilities: Tensor) -> float:
    """The share of the rarest predicted class: 0 when a class is missing."""
    return float(class_shares(probabilities).min())


def class_balance_max(probabilities: Tensor) -> float:
    """The share of the most frequent predicted class: 1 when the model makes only one."""
    return float(class_shares(probabilities).max())
