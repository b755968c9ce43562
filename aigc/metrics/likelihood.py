"""The likelihood of held-out records, for the models that bound it."""

from __future__ import annotations

from collections.abc import Callable

from aigc.errors import ModelError


def elbo(bound: Callable[[], float] | None) -> float:
    """The evidence lower bound of a held-out record, mean in nats (Kingma & Welling 2014).

    Raises ModelError for a model that has none.
    """
    if bound is None:
        raise ModelError(
            "The metric elbo needs a model with an evidence lower bound, and this one has none",
            "Leave elbo out, or evaluate a VAE.",
        )
    return bound()
