"""Gates: what passes, what fails, and what is said about it."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import TypeAdapter, ValidationError

from aigc.errors import MetricUnknown
from cluster.judgement import Bound, Gates, judge


def gates(text: str) -> Gates:
    return Gates.model_validate_json(text)


FRECHET = gates('{"frechet_5k": {"at_most": 60}}')
BETTER = gates('{"better_than_champion": "frechet_5k"}')


def test_the_limit_itself_passes() -> None:
    assert judge({"frechet_5k": 60.0}, FRECHET, None).passed


def test_beyond_the_limit_fails_and_says_both_numbers() -> None:
    verdict = judge({"frechet_5k": 60.5}, FRECHET, None)
    assert not verdict.passed
    assert verdict.results[0].reason == "frechet_5k is 60.5, not at most 60"


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_fails(figure: float) -> None:
    verdict = judge({"frechet_5k": figure}, FRECHET, None)
    assert not verdict.passed
    assert verdict.results[0].figure is None


def test_a_missing_figure_fails() -> None:
    verdict = judge({"coverage_5k": 0.9}, FRECHET, None)
    assert not verdict.passed
    assert verdict.results[0].reason == "there is no figure for frechet_5k"


def test_one_failing_gate_fails_the_whole_but_all_are_reported() -> None:
    both = gates('{"frechet_5k": {"at_most": 60}, "coverage_5k": {"at_least": 0.5}}')
    verdict = judge({"frechet_5k": 50, "coverage_5k": 0.1}, both, None)
    assert not verdict.passed
    assert [result.passed for result in verdict.results] == [True, False]


def test_no_gates_let_everything_pass() -> None:
    assert judge({}, Gates(), None).passed


@pytest.mark.parametrize(("figure", "passed"), [(54.0, True), (55.0, False), (56.0, False)])
def test_lower_is_better_for_a_distance_and_equal_is_not_better(
    figure: float, passed: bool
) -> None:
    verdict = judge({"frechet_5k": figure}, BETTER, {"frechet_5k": 55.0})
    assert verdict.passed is passed
    assert verdict.results[0].bound == "lower than the champion's 55"


def test_higher_is_better_for_coverage() -> None:
    better = gates('{"better_than_champion": "coverage_1k"}')
    assert judge({"coverage_1k": 0.6}, better, {"coverage_1k": 0.5}).passed
    assert not judge({"coverage_1k": 0.4}, better, {"coverage_1k": 0.5}).passed


def test_the_first_model_has_no_champion_to_beat() -> None:
    verdict = judge({"frechet_5k": 900.0}, BETTER, None)
    assert verdict.passed
    assert "no champion yet" in verdict.results[0].reason


def test_no_figure_beats_no_champion_neither() -> None:
    assert not judge({}, BETTER, None).passed


@pytest.mark.parametrize("rival", [{}, {"frechet_5k": math.nan}])
def test_a_champion_without_the_figure_is_not_beaten(rival: dict[str, float]) -> None:
    verdict = judge({"frechet_5k": 1.0}, BETTER, rival)
    assert not verdict.passed
    assert "evaluate it first" in verdict.results[0].reason


def test_a_comparison_by_an_unknown_metric_is_an_error() -> None:
    with pytest.raises(MetricUnknown):
        judge({"beauty": 1.0}, gates('{"better_than_champion": "beauty"}'), None)


def test_the_verdict_is_plain_data() -> None:
    verdict = judge({"frechet_5k": math.nan}, FRECHET, None)
    assert json.loads(json.dumps(verdict.as_dict(), allow_nan=False)) == {
        "passed": False,
        "results": [
            {
                "metric": "frechet_5k",
                "figure": None,
                "bound": "at most 60",
                "passed": False,
                "reason": "there is no figure for frechet_5k",
            }
        ],
    }


def test_gates_are_written_as_they_were_read() -> None:
    text = '{"better_than_champion":"frechet_5k","coverage_5k":{"at_least":0.5,"at_most":null}}'
    written = gates(text).model_dump(mode="json")
    assert gates(json.dumps(written)) == gates(text)
    assert written == {"better_than_champion": "frechet_5k", "coverage_5k": {"at_least": 0.5}}
    assert gates(text).metrics == ("coverage_5k", "frechet_5k")


def test_the_schema_says_what_a_gate_is() -> None:
    schema = TypeAdapter(Gates).json_schema()
    assert schema["additionalProperties"] == {"$ref": "#/$defs/Bound"}


@pytest.mark.parametrize(
    "bound", ["{}", '{"at_most": null}', '{"at_most": 1, "at_least": 2}', '{"atmost": 1}', "1.0"]
)
def test_a_bound_without_room_is_refused(bound: str) -> None:
    with pytest.raises(ValidationError):
        gates(f'{{"frechet_5k": {bound}}}')


def test_a_bound_can_be_a_range() -> None:
    bound = Bound(at_least=0.05, at_most=0.2)
    assert [bound.holds(figure) for figure in (0.04, 0.05, 0.2, 0.21)] == [False, True, True, False]
    assert str(bound) == "at least 0.05 and at most 0.2"


BESIDE = gates('{"frechet_5k": {"of_champion": 1.2, "of_nights": 1.5}}')


@pytest.mark.parametrize(
    ("figure", "passed"), [(55.0, [True, True]), (60.1, [False, True]), (80.0, [False, False])]
)
def test_a_night_may_be_worse_by_a_factor(figure: float, passed: list[bool]) -> None:
    nights = [{"frechet_5k": each} for each in (40.0, 50.0, 900.0)]
    verdict = judge({"frechet_5k": figure}, BESIDE, {"frechet_5k": 50.0}, nights)
    assert [result.passed for result in verdict.results] == passed
    assert "× the champion's 50" in verdict.results[0].reason
    assert "× the last nights' 50" in verdict.results[1].reason


def test_a_share_that_is_better_high_may_be_lower_by_a_factor() -> None:
    beside = gates('{"coverage_5k": {"of_champion": 1.25}}')
    champion = {"coverage_5k": 0.5}
    assert judge({"coverage_5k": 0.4}, beside, champion).passed
    assert not judge({"coverage_5k": 0.39}, beside, champion).passed


def test_a_champion_without_the_figure_fails_and_a_first_night_does_not() -> None:
    verdict = judge({"frechet_5k": 5.0}, BESIDE, None)
    assert [result.passed for result in verdict.results] == [False, True]
    assert "evaluate it first" in verdict.results[0].reason
    assert "no night before" in verdict.results[1].reason
    assert verdict.results[1].bound.endswith("there is none to compare with")
    (missing,) = judge({}, BESIDE, {"frechet_5k": 1.0}).results
    assert not missing.passed


def test_what_is_no_metric_is_better_low() -> None:
    beside = gates('{"blank": {"of_nights": 2}}')
    nights = [{"blank": 0.01}]
    assert judge({"blank": 0.02}, beside, None, nights).passed
    assert not judge({"blank": 0.03}, beside, None, nights).passed
