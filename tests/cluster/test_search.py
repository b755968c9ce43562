"""A search: what it asks for next, what it remembers, and when it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray.tune.search import Searcher

from aigc.errors import DataError
from cluster.local import LocalRay
from cluster.places import Here
from cluster.resources import Resources
from cluster.search import Search, TrialFunction, TrialResult, next_values
from cluster.tuning import Range, Trial, Tune, Value

FIELDS: dict[str, Any] = {
    "x": {"uniform": [0.0, 1.0]},
    "rate": {"log_uniform": [1e-4, 1e-2]},
    "width": {"integer": [2, 5]},
    "loss": {"choice": ["hinge", None, True]},
}


def tune(**settings: Any) -> Tune:
    return Tune.model_validate_json(
        json.dumps({"fields": FIELDS, "metric": "score", "trials": 8} | settings)
    )


def opened(folder: Path, asked: Tune | None = None, **settings: Any) -> Search:
    """A search for the lowest score."""
    return Search(
        asked or tune(),
        settings.get("better", "lower"),
        settings.get("seed", 0),
        folder / "trials.json",
        lambda trial: None,
        settings.get("stopping", lambda: False),
    )


def parabola(values: Mapping[str, Value]) -> TrialResult:
    """Lowest at x = 0.3."""
    x = values["x"]
    assert isinstance(x, float)
    return TrialResult("parabola", figure=(x - 0.3) ** 2)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "needs one of"),
        ({"uniform": [0, 1], "choice": [1]}, "needs one of"),
        ({"uniform": [1, 0]}, r"as \[0.0, 1.0\]"),
        ({"integer": [3, 3]}, "begin with the smaller"),
        ({"log_uniform": [0, 1]}, "above 0"),
        ({"choice": []}, "at least 1"),
    ],
)
def test_a_range_that_is_none_is_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Range.model_validate_json(json.dumps(written))


def test_a_range_is_written_as_it_was_read() -> None:
    for written in FIELDS.values():
        assert Range.model_validate_json(json.dumps(written)).model_dump(mode="json") == written


def test_a_search_without_an_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="trials, minutes or both"):
        tune(trials=None)


def test_values_are_in_their_ranges_and_follow_from_the_seed() -> None:
    asked, trials = tune(), list[Trial]()
    for number in range(20):
        values = next_values(asked, "lower", trials, 0)
        assert values == next_values(asked, "lower", trials, 0)
        assert list(values) == list(FIELDS)
        assert 0 <= values["x"] <= 1  # type: ignore[operator]
        assert 1e-4 <= values["rate"] <= 1e-2  # type: ignore[operator]
        assert values["width"] in range(2, 6)
        assert values["loss"] in ("hinge", None, True)
        trials.append(Trial(number, values, "s", parabola(values).figure))
    assert next_values(asked, "lower", [], 0) != next_values(asked, "lower", [], 1)


def test_trials_side_by_side_are_not_the_same() -> None:
    trials = list[Trial]()
    for number in range(4):
        trials.append(Trial(number, next_values(tune(), "lower", trials, 0)))
    assert len({trial.values["x"] for trial in trials}) == 4


def test_what_was_learned_is_used(tmp_path: Path) -> None:
    search = opened(tmp_path, tune(trials=40))
    Here().search(parabola, search, Resources())

    late = [abs(float(str(trial.values["x"])) - 0.3) for trial in search.trials[20:]]
    assert sorted(late)[len(late) // 2] < 0.15, "half of what comes at random is within 0.25"
    assert search.best is not None
    assert search.best.figure == min(trial.figure or 0 for trial in search.trials)


def test_the_best_may_be_the_highest(tmp_path: Path) -> None:
    search = opened(tmp_path, better="higher")
    Here().search(parabola, search, Resources())
    assert search.best is not None
    assert search.best.figure == max(trial.figure or 0 for trial in search.trials)


def test_a_killed_search_goes_on_as_if_nobody_had_disturbed_it(tmp_path: Path) -> None:
    undisturbed = opened(tmp_path / "undisturbed")
    Here().search(parabola, undisturbed, Resources())
    begun: list[Any] = []

    def killed(values: Mapping[str, Value]) -> TrialResult:
        begun.append(values)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return parabola(values)

    with pytest.raises(KeyboardInterrupt):
        Here().search(killed, opened(tmp_path), Resources())
    resumed = opened(tmp_path)
    Here().search(killed, resumed, Resources())

    assert resumed.trials == undisturbed.trials
    assert begun[3] == begun[4], "the trial that was open is begun again"
    assert len(begun) == 9


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_is_none_is_a_failure(tmp_path: Path, figure: float) -> None:
    search = opened(tmp_path, tune(trials=2))
    Here().search(lambda _: TrialResult("s", figure=figure), search, Resources())
    assert [trial.error for trial in search.trials] == [f"the figure is {figure}"] * 2
    assert search.best is None


def test_no_trial_begins_after_the_minutes(tmp_path: Path) -> None:
    search = opened(tmp_path, tune(trials=None, minutes=1e-9))
    Here().search(parabola, search, Resources())
    assert len(search.trials) == 1
    assert opened(tmp_path, tune(trials=None, minutes=1e-9)).suggest("next") == Searcher.FINISHED


def test_minutes_are_counted_over_all_attempts(tmp_path: Path) -> None:
    search = opened(tmp_path, tune(trials=1))
    Here().search(parabola, search, Resources())
    kept = json.loads((tmp_path / "trials.json").read_text())
    (tmp_path / "trials.json").write_text(json.dumps({**kept, "seconds": 61.0}))

    assert opened(tmp_path, tune(minutes=1)).suggest("next") == Searcher.FINISHED
    assert opened(tmp_path, tune(minutes=2)).suggest("next") != Searcher.FINISHED


def test_no_trial_begins_once_it_is_to_stop(tmp_path: Path) -> None:
    assert opened(tmp_path, stopping=lambda: True).suggest("next") == Searcher.FINISHED


GOOD = {"number": 0, "values": {"x": 0.5, "rate": 1e-3, "width": 3, "loss": None}}


@pytest.mark.parametrize(
    "trial",
    [
        {},
        {**GOOD, "number": 5},
        {**GOOD, "values": {}},
        {**GOOD, "values": 7},
        {**GOOD, "values": {**GOOD["values"], "width": 99}},  # type: ignore[dict-item]
        {**GOOD, "values": {**GOOD["values"], "x": "half"}},  # type: ignore[dict-item]
        {**GOOD, "values": {**GOOD["values"], "loss": "wgan"}},  # type: ignore[dict-item]
        {**GOOD, "figure": "abc"},
    ],
)
def test_a_record_of_no_such_search_is_refused(tmp_path: Path, trial: dict[str, Any]) -> None:
    (tmp_path / "trials.json").write_text(json.dumps({"seconds": 1.0, "trials": [trial]}))
    with pytest.raises(DataError, match="no record of this search"):
        opened(tmp_path)
    (tmp_path / "trials.json").write_text(json.dumps({"seconds": 1.0, "trials": [GOOD]}))
    assert opened(tmp_path).suggest("first") == GOOD["values"]


def mortal(marks: Path, deaths: int) -> TrialFunction:
    """The parabola, whose process is killed in its first `deaths` trials. Nested: by value."""

    def run(values: Mapping[str, Value]) -> TrialResult:
        died = len(list(marks.iterdir()))
        if died < deaths:
            (marks / f"{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return parabola_by_value(values)

    parabola_by_value = parabola
    return run


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_lost_trial_does_not_lose_the_search(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    search = opened(tmp_path, tune(trials=3))
    with LocalRay(tmp_path / "ray") as place:
        # Once more than a trial may die: the first one is lost, the second begins a second time.
        place.search(mortal(marks, 3), search, Resources(max_failures=1))

    assert [trial.error is None for trial in search.trials] == [False, True, True]
    assert search.trials[0].error == "the trial's process died too often"
    assert search.best in search.trials[1:]
    assert not list((tmp_path / "ray").glob("search-*")), "nothing of Ray Tune's is left"
