"""The likelihood of held-out records, for the models that have one or bound it.

Each metric raises ModelError for a model that has none, and DataError when there are no records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from aigc.errors import DataError, ModelError


@dataclass(frozen=True)
class Likelihood:
    """What one model makes of a held-out split, in nats; computed when it is first asked for.

    `bounds` and `log_likelihoods` give a figure a record, (N,), of the same records in the same
    order. `size` is the number of their stored bytes that are not padding.
    """

    bounds: Callable[[], Tensor]
    log_likelihoods: Callable[[], Tensor]
    size: int

    @cached_property
    def nats(self) -> Tensor:
        """log p of each record, float64 (N,). Two metrics share it."""
        return self.log_likelihoods().double()


def elbo(likelihood: Likelihood | None) -> float:
    """The evidence lower bound of a record, mean in nats (Kingma & Welling 2014)."""
    return _mean(_known(likelihood).bounds().double())


def log_likelihood(likelihood: Likelihood | None) -> float:
    """log p of a record, mean in nats: exact, or bounded as in Burda et al. 2016."""
    return _mean(_known(likelihood).nats)


def nats_per_byte(likelihood: Likelihood | None) -> float:
    """−log p of all records over their bytes without padding; of ASCII text, nats a character."""
    known = _known(likelihood)
    if not known.size:
        raise _nothing()
    return -known.nats.sum().item() / known.size


def _known(likelihood: Likelihood | None) -> Likelihood:
    if likelihood is None:
        raise ModelError("Likelihoods are a model's, and only samples are judged here")
    return likelihood


def _mean(nats: Tensor) -> float:
    if not len(nats):
        raise _nothing()
    return nats.mean().item()


def _nothing() -> DataError:
    return DataError(
        "Likelihoods are those of held-out records, and there are none",
        "Import the dataset again with a larger held-out split.",
    )
