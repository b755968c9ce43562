from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aigc.errors import DataError, MetricUnknown, ModelError
from aigc.metrics import METRICS, Evidence, Features, Likelihood, score
from aigc.metrics.coverage import coverage
from aigc.metrics.frechet import frechet_distance

ALL = [f"{name}_100" if metric.needs_count else name for name, metric in METRICS.items()]


def features(seed: int, rows: int) -> Features:
    source = torch.Generator().manual_seed(seed)
    seen = torch.randn(rows, 6, generator=source)
    return Features(seen, torch.randn(rows, 4, generator=source).softmax(dim=1))


def nats(figure: float) -> Likelihood:
    """Every record has that likelihood."""
    return Likelihood(lambda: torch.full((4,), figure), lambda: torch.full((4,), figure), 8)


@pytest.fixture
def evidence() -> Evidence:
    return Evidence(features(1, 120), features(2, 150), features(3, 300), nats(-90.0))


def test_every_metric_gives_a_finite_float_in_the_order_asked_for(evidence: Evidence) -> None:
    names = ALL[::-1]
    figures = score(names, evidence)
    assert list(figures) == names
    assert all(type(figure) is float and math.isfinite(figure) for figure in figures.values())


def test_figures_do_not_depend_on_the_global_seed_nor_disturb_it(evidence: Evidence) -> None:
    torch.manual_seed(1)
    first = score(ALL, evidence)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert score(ALL, evidence) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_first_count_samples_are_looked_at(evidence: Evidence) -> None:
    generated, held_out = evidence.generated.features, evidence.held_out.features
    assert score(["frechet_50", "frechet_120", "coverage_7"], evidence) == {
        "frechet_50": frechet_distance(generated[:50], held_out),
        "frechet_120": frechet_distance(generated, held_out),
        "coverage_7": coverage(generated[:7], held_out),
    }


def test_each_metric_prefers_the_better_of_two_models(evidence: Evidence) -> None:
    """The table's direction: a fresh draw of the data against one repeated training record."""
    generated = features(3, 300)
    repeated = Features(
        generated.features[:1].tile(120, 1), generated.probabilities[:1].tile(120, 1)
    )
    good = score(ALL, evidence)
    bad = score(ALL, replace(evidence, generated=repeated, likelihood=nats(-200.0)))
    for name, (base, metric) in zip(ALL, METRICS.items(), strict=True):
        # One repeated record inside the data is what precision and density cannot see.
        if base not in ("precision", "density"):
            assert (good[name] < bad[name]) == (metric.better == "lower"), name


def test_too_few_samples_are_an_error_before_anything_is_computed(evidence: Evidence) -> None:
    def never() -> Tensor:
        raise AssertionError("computed")

    with pytest.raises(DataError, match=r"frechet_1k looks at 1000 samples, and there are 120"):
        score(["elbo", "frechet_1k"], replace(evidence, likelihood=Likelihood(never, never, 8)))


def test_too_few_held_out_records_are_an_error(evidence: Evidence) -> None:
    with pytest.raises(DataError, match="at least 6 held-out records, and there are 5"):
        score(["coverage_100"], replace(evidence, held_out=features(2, 5)))


def test_an_unknown_name_is_an_error(evidence: Evidence) -> None:
    with pytest.raises(MetricUnknown, match="Did you mean frechet_5k"):
        score(["freshet_100"], evidence)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["features", "probabilities"])
def test_features_that_are_not_finite_are_an_error_that_names_the_record(
    evidence: Evidence, value: float, part: str
) -> None:
    getattr(evidence.generated, part)[17, 2] = value
    with pytest.raises(DataError, match=r"generated records .* first .* record 17"):
        score(["class_balance_min_100"], evidence)


def test_a_figure_that_is_not_finite_is_an_error(evidence: Evidence) -> None:
    with pytest.raises(DataError, match="elbo came out as nan"):
        score(["elbo"], replace(evidence, likelihood=nats(math.nan)))


def test_a_model_without_a_bound_has_no_elbo(evidence: Evidence) -> None:
    with pytest.raises(ModelError, match="Likelihoods are a model's"):
        score(["elbo"], replace(evidence, likelihood=None))


def test_a_likelihood_needs_no_samples() -> None:
    figures = score(["elbo", "log_likelihood", "nats_per_byte"], Evidence(likelihood=nats(-90.0)))
    assert figures == {"elbo": -90.0, "log_likelihood": -90.0, "nats_per_byte": 45.0}
