"""--set puts a value of the command line in the place of the file's."""

from __future__ import annotations

import pytest

from jobs.errors import SpecInvalid
from jobs.overrides import override
from jobs.source import Source, parse

SPEC = b"""kind: train
training:
  steps: 1
  seed: 2
evaluation: null
"""


def source() -> Source:
    return parse(SPEC, "a.yaml")


def refused(*settings: str) -> list[str]:
    with pytest.raises(SpecInvalid) as error:
        override(source(), settings)
    return [str(problem) for problem in error.value.problems]


def test_a_value_is_read_as_yaml() -> None:
    found = override(source(), ["training.steps=100", "name=x", "evaluation.metrics=[a, b]"])
    assert found.data == {
        "kind": "train",
        "training": {"steps": 100, "seed": 2},
        "evaluation": {"metrics": ["a", "b"]},
        "name": "x",
    }


def test_a_long_setting_is_quoted_short() -> None:
    for setting in ("n" * 200, ".".join("a" * 99)):
        (said,) = refused(setting)
        assert said == f"--set {setting[:60]}…: must read PATH=VALUE, as training.steps=100"


def test_the_source_stays_as_it_was() -> None:
    before = source()
    override(before, ["training.steps=100"])
    assert before == source()


def test_the_last_of_two_settings_wins() -> None:
    found = override(source(), ["training.steps=1", "training.steps=2", "training={steps: 3}"])
    assert found.data["training"] == {"steps": 3}


def test_a_value_may_hold_an_equals_sign() -> None:
    assert override(source(), ["name=a=b"]).data["name"] == "a=b"


def test_a_mistake_in_a_set_value_names_the_option_and_no_line() -> None:
    found = override(source(), ["training.steps=0"])
    problem = found.problem(("training", "steps"), "must be greater than 0")
    assert str(problem) == "--set training.steps=0: training.steps: must be greater than 0"
    assert found.problem(("training", "seed"), "x").line == 4


def test_a_mistake_below_a_set_section_names_the_option() -> None:
    found = override(source(), ["training={steps: 0}"])
    assert found.problem(("training", "steps"), "x").file == "--set training={steps: 0}"


def test_a_section_that_had_to_be_made_belongs_to_the_option() -> None:
    found = override(source(), ["traning.steps=1"])
    assert found.problem(("traning",), "unknown key").file == "--set traning.steps=1"


@pytest.mark.parametrize("setting", ["", "name", "=1", ".=1", "a..b=1", "a.=1"])
def test_what_is_no_path_and_value_is_refused(setting: str) -> None:
    assert refused(setting) == [f"--set {setting}: must read PATH=VALUE, as training.steps=100"]


def test_a_field_of_what_has_no_fields_is_refused() -> None:
    assert refused("training.steps.x=1") == [
        "--set training.steps.x=1: training.steps is no section with fields: set it as a whole"
    ]


def test_every_setting_that_cannot_be_applied_is_reported() -> None:
    assert len(refused("kind.x=1", "name=[", "seed=!!int 3", "training.steps=5")) == 3
