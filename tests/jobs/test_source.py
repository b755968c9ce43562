"""YAML in, plain data with lines out; whatever the bytes, nothing but SpecInvalid is raised."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import SpecInvalid
from jobs.source import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse, read, written


def refused(content: bytes | str) -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(SpecInvalid) as error:
        parse(data, "a.yaml")
    return [str(problem) for problem in error.value.problems]


def value(text: str) -> Any:
    return parse(f"value: {text}".encode(), "a.yaml").data["value"]


def test_each_value_knows_its_line() -> None:
    source = parse(b"# reason\nkind: train\ntraining:\n  steps: 1\nlist:\n- a\n- b\n", "a.yaml")
    assert source.data == {"kind": "train", "training": {"steps": 1}, "list": ["a", "b"]}
    assert source.lines == {
        (): 2,
        ("kind",): 2,
        ("training",): 3,
        ("training", "steps"): 4,
        ("list",): 5,
        ("list", 0): 6,
        ("list", 1): 7,
    }


def test_what_is_missing_stands_where_its_parent_stands() -> None:
    source = parse(b"kind: train\ntraining:\n  steps: 1\n", "a.yaml")
    assert str(source.problem(("training", "seed"), "is missing")) == (
        "a.yaml:2: training.seed: is missing"
    )
    assert source.problem(("name",), "is missing").line == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("2E3", 2000.0),
        (".5", 0.5),
        ("-7", -7),
        ("007", 7),
        ("0x1f", 31),
        ("0o17", 15),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-10-03", "2026-10-03"),
        ("1_000", "1_000"),
        ("True", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"null"', "null"),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_a_key_that_stands_there_twice_names_both_lines() -> None:
    assert refused("a: 1\nb: 2\na: 3\n") == [
        "a.yaml:3: a: stands here a second time, first in line 1"
    ]


def test_mistakes_are_reported_together() -> None:
    found = refused("a: 1\na: 2\nb: !!python/object:os.system x\nc: &x 1\nd: *x\n2: e\n")
    assert [line.split(": ")[0] for line in found] == [f"a.yaml:{n}" for n in (2, 3, 4, 5, 6)]


def test_a_second_document_is_refused() -> None:
    assert refused("kind: train\n---\nkind: train\n") == [
        "a.yaml:2: a second document begins: one file asks for one job"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "- a\n", "text", "42"])
def test_what_is_no_mapping_is_no_spec(text: str) -> None:
    assert len(refused(text)) == 1


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise("abcdefghi")]
    assert "anchors and aliases are not used" in refused("\n".join(lines))[0]


def test_depth_is_bounded() -> None:
    assert f"more than {MAX_DEPTH} deep" in refused("a: " + "[" * 500_000)[0]
    assert f"more than {MAX_DEPTH} deep" in refused("{a: " * 200_000)[0]


def test_the_number_of_values_is_bounded() -> None:
    assert f"more than {MAX_VALUES:,} values" in refused("a: [" + "0," * 300_000 + "]")[0]


def test_the_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: " + b"x" * MAX_BYTES)
    with pytest.raises(SpecInvalid, match="longer than a spec can be"):
        read(path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a: 1\nb: \xff\n", 2),
        (b"a: 1\nb: \x00\n", 2),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', 2),
        (b'a: 1\nb: "\\ud800"\n', 2),
        (b"a: 1\nb: [\n", 3),
        (b"a: 1\n\tb: 2\n", 2),
        (b"a: 1\n? [x]\n: 2\n", 2),
        (b"%YAML " + b"9" * 5000 + b".1\n--- a\n", 1),
        (b"a: 99999999999999999999\n", 1),
        (b"a: *b\n", 1),
    ],
)
def test_what_is_broken_is_named_with_its_line(content: bytes, line: int) -> None:
    assert refused(content)[0].startswith(f"a.yaml:{line}: ")


def test_a_byte_order_mark_is_no_content() -> None:
    assert parse(b"\xef\xbb\xbfkind: train\n", "a.yaml").data == {"kind": "train"}


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalid, match="cannot be read"):
        read(f"{tmp_path}/{name}")


def test_the_problems_survive_odd_keys_on_one_line() -> None:
    (line,) = refused('"a\\nb": 1\n"a\\nb": 2\n')
    assert line.startswith('a.yaml:2: "a\\nb": ')


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
    | st.sampled_from(["1e5", "0o17", "no", "12:30", "~", "0x1f", "1.", "NULL"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1-", max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc-", min_size=1), plain))
def test_what_is_written_is_read_again(data: dict[str, Any]) -> None:
    assert parse(written(data).encode(), "a.yaml").data == data


@given(st.dictionaries(st.text("abc-", min_size=1), plain))
def test_json_is_read_as_json(data: dict[str, Any]) -> None:
    assert parse(json.dumps(data, ensure_ascii=False).encode(), "a.yaml").data == data


@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_refused(content: bytes) -> None:
    with contextlib.suppress(SpecInvalid):
        parse(content, "a.yaml")


@given(st.text(st.sampled_from("ab: \n-[]{}?&*!|>%@`'\"#,~<=0.1e\\xuU"), max_size=40))
def test_any_punctuation_is_data_or_refused(text: str) -> None:
    with contextlib.suppress(SpecInvalid):
        source = parse(text.encode(), "a.yaml")
        assert {path[0] for path in source.lines if path} == set(source.data)
