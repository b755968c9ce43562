from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc.errors import MetricUnknown
from aigc.metrics.names import MetricName, needed, parse
from aigc.metrics.table import METRICS

COUNTED = [name for name, metric in METRICS.items() if metric.needs_count]


@pytest.mark.parametrize(
    ("name", "metric", "count"),
    [
        ("frechet_5k", "frechet", 5000),
        ("kernel_500", "kernel", 500),
        ("coverage_50k", "coverage", 50_000),
        ("class_balance_min_1500", "class_balance_min", 1500),
        ("inception_score_1k", "inception_score", 1000),
        ("elbo", "elbo", None),
    ],
)
def test_a_name_says_the_metric_and_the_count(name: str, metric: str, count: int | None) -> None:
    assert parse(name) == MetricName(metric, count)


@given(st.sampled_from(COUNTED), st.integers(6, 10_000_000))
def test_what_was_spelled_is_read_back(metric: str, count: int) -> None:
    name = MetricName(metric, count)
    assert parse(str(name)) == name


@given(st.builds(str.__add__, st.sampled_from(["", *METRICS]), st.text(max_size=8)))
def test_any_text_is_either_refused_or_the_one_spelling_of_a_metric(text: str) -> None:
    try:
        name = parse(text)
    except MetricUnknown:
        return
    assert str(name) == text


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("freshet_5k", "Did you mean frechet_5k?"),
        ("frechet_5q", "Did you mean frechet_5k?"),
        ("neighbor_ratio_1k", "Did you mean neighbour_ratio_5k?"),
        ("elbos", "Did you mean elbo?"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_and_lists_all(name: str, suggestion: str) -> None:
    with pytest.raises(MetricUnknown) as caught:
        parse(name)
    assert suggestion in str(caught.value)
    assert all(metric in str(caught.value) for metric in METRICS)


@pytest.mark.parametrize("name", ["", "5k", "_5k", "fid", "frechet_", "frechet_0", "frechet_05"])
def test_what_names_no_metric_is_refused(name: str) -> None:
    with pytest.raises(MetricUnknown, match="There is no metric"):
        parse(name)


@pytest.mark.parametrize("metric", COUNTED)
def test_a_missing_count_is_refused_with_an_example(metric: str) -> None:
    with pytest.raises(MetricUnknown, match=f"Write for example {metric}_5k"):
        parse(metric)


def test_a_superfluous_count_is_refused() -> None:
    with pytest.raises(MetricUnknown, match=r"looks at no samples.*Write elbo\."):
        parse("elbo_5k")


def test_a_count_too_small_to_define_the_metric_is_refused() -> None:
    assert parse("recall_6").count == 6
    with pytest.raises(MetricUnknown, match="at least 6"):
        parse("recall_5")


def test_thousands_have_one_spelling() -> None:
    with pytest.raises(MetricUnknown, match=r"Write frechet_5k\."):
        parse("frechet_5000")


def test_as_many_samples_are_needed_as_the_largest_count_says() -> None:
    assert needed(["kernel_500", "frechet_5k", "coverage_1k", "elbo"]) == 5000
    assert needed(["elbo"]) == needed([]) == 0
