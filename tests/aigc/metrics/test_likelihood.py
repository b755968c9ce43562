from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aigc.errors import DataError, ModelError
from aigc.metrics.likelihood import Likelihood, elbo, log_likelihood, nats_per_byte

METRICS = [elbo, log_likelihood, nats_per_byte]


def likelihood(bounds: list[float], exact: list[float], size: int) -> Likelihood:
    return Likelihood(lambda: torch.tensor(bounds), lambda: torch.tensor(exact), size)


def test_figures_are_means_of_records_and_of_bytes() -> None:
    known = likelihood([-12.0, -20.0], [-10.0, -14.0], size=6)
    assert elbo(known) == -16
    assert log_likelihood(known) == -12
    assert nats_per_byte(known) == 4


def test_a_uniform_model_of_bytes_needs_log_256_nats_each() -> None:
    known = likelihood([], [-3 * math.log(256), -5 * math.log(256)], size=8)
    assert nats_per_byte(known) == pytest.approx(math.log(256))


def test_two_metrics_share_one_computation() -> None:
    calls = []

    def counted() -> Tensor:
        calls.append(1)
        return torch.tensor([-1.0])

    known = Likelihood(counted, counted, 1)
    assert (log_likelihood(known), nats_per_byte(known), len(calls)) == (-1.0, 1.0, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_samples_alone_have_no_likelihood(metric: Callable[[Likelihood | None], float]) -> None:
    with pytest.raises(ModelError, match="only samples are judged"):
        metric(None)


@pytest.mark.parametrize("metric", METRICS)
def test_no_held_out_records_are_an_error(metric: Callable[[Likelihood | None], float]) -> None:
    with pytest.raises(DataError, match="there are none"):
        metric(likelihood([], [], 0))
