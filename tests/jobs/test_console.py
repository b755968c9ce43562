"""Data on stdout as a table or JSON, messages on stderr."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobs.console import as_table, as_text, instant, message, show_list, show_one

RECORDS = [
    {"name": "digits", "version": 3, "frechet_5k": 57.123456, "champion": True},
    {"name": "article", "version": 12, "frechet_5k": None, "champion": False},
]
COLUMNS = ["name", "version", "frechet_5k", "champion"]


def test_a_table_has_aligned_columns_and_numbers_on_the_right() -> None:
    assert as_table(RECORDS, COLUMNS).splitlines() == [
        "NAME     VERSION  FRECHET 5K  CHAMPION",
        "digits         3       57.12  yes",
        "article       12           –  no",
    ]


def test_json_holds_every_field_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([{"name": "x", "figure": math.nan, "more": (1, 2)}], ["name"], "json", "none")
    assert json.loads(capsys.readouterr().out) == [{"name": "x", "figure": None, "more": [1, 2]}]


def test_an_empty_list_is_data_in_json_and_a_sentence_beside_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_list([], COLUMNS, "json", "There is no model yet.")
    assert capsys.readouterr() == ("[]\n", "")
    show_list([], COLUMNS, "table", "There is no model yet.")
    assert capsys.readouterr() == ("", "There is no model yet.\n")


def test_one_record_is_a_line_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    show_one({"name": "digits", "splits": {"train": 4000, "test": 1000}}, "table")
    assert capsys.readouterr().out == "name    digits\nsplits  train: 4000, test: 1000\n"
    show_one({"name": "digits"}, "json")
    assert json.loads(capsys.readouterr().out) == {"name": "digits"}


def test_messages_leave_stdout_to_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    message("training begins")
    assert capsys.readouterr() == ("", "training begins\n")


def test_times_have_an_offset() -> None:
    moment = datetime(2026, 10, 3, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant(moment) == "2026-10-03T02:30:00+02:00"
    assert instant(moment.astimezone(UTC)) == "2026-10-03T00:30:00+00:00"
    with pytest.raises(ValueError, match="no offset"):
        instant(datetime(2026, 10, 3))


def test_a_value_stays_on_its_line() -> None:
    assert as_text("two\nlines") == "two lines"
