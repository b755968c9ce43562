"""Expressions: what they say, and every field that is wrong."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.schedule.cron import WORDS, parse_cron

MONDAY = datetime(2026, 3, 2)


def times(text: str, low: datetime = MONDAY, high: datetime = datetime(2026, 3, 9)) -> list[str]:
    return [f"{each:%d %H:%M}" for each in parse_cron(text).times(low, high)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * MON,WED", ["02 02:30", "04 02:30"]),
        ("0 8-18/5 * * 5", ["06 08:00", "06 13:00", "06 18:00"]),
        ("15,45 0 3 3 *", ["03 00:15", "03 00:45"]),
        ("0 0 4 * 0", ["04 00:00", "08 00:00"]),
        ("@weekly", ["08 00:00"]),
        (" @Daily ", [f"0{day} 00:00" for day in range(2, 9)]),
        ("0 12 LW * *", []),
    ],
)
def test_an_expression_gives_the_times_of_its_days(text: str, expected: list[str]) -> None:
    assert times(text) == expected


def test_the_bounds_are_from_and_before() -> None:
    low, high = datetime(2026, 3, 2, 6), datetime(2026, 3, 2, 8)
    assert times("0 * * * *", low, high) == ["02 06:00", "02 07:00"]
    assert times("0 * * * *", low, low) == []


@given(
    st.sampled_from(["* * * * *", "*/7 3-5 * * *", "0 0 * * 1", "5 4 29 2 *", "0 0 L * *"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.timedeltas(timedelta(hours=-1), timedelta(days=8)),
)
def test_counting_is_counting_one_by_one(text: str, low: datetime, length: timedelta) -> None:
    high = low + length
    cron = parse_cron(text)
    assert cron.count(low, high) == len(list(cron.times(low, high)))


@pytest.mark.parametrize("word", WORDS)
def test_words_stand_for_fields(word: str) -> None:
    assert parse_cron(word) == parse_cron(WORDS[word])


@pytest.mark.parametrize(("text", "every"), [("@hourly", True), ("5 */2 * * *", False)])
def test_whether_hours_were_chosen(text: str, every: bool) -> None:
    assert parse_cron(text).every_hour is every


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("61 25 * * *", ["minute must be 0 to 59", '"61"', "hour must be 0 to 23", '"25"']),
        ("* * * * * *", ["must have five fields", "got 6"]),
        ("", ["must have five fields", "got 0"]),
        ("0 0 32 13 8", ["day of the month", "month must be", "day of the week"]),
        ("@reboot", ["must be one of @hourly, @daily"]),
        ("0 0 31 2,4 *", ["names a day that none of its months has"]),
        ("*/0 * * * *", ["minute"]),
        ("5-1 * * * *", ["minute"]),
        ("9" * 5000 + " * * * *", ["must have five fields"]),
        ("9" * 190 + " * * * *", ["minute"]),
        ("0 0 * * L", ["day of the week"]),
        ("0 0 L-3 * *", ["day of the month"]),
        ("0 0 * * 1#6", ["day of the week"]),
        ("² * * * *", ["minute"]),
    ],
)
def test_every_field_that_is_wrong_is_named(text: str, said: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must|names") as error:
        parse_cron(text)
    assert [each for each in said if each not in str(error.value)] == []


@given(st.text("0123456789*/,-#LW@SUN ", max_size=30))
def test_any_text_is_an_expression_or_a_sentence(text: str) -> None:
    with suppress(ValueError):
        cron = parse_cron(text)
        assert cron.minutes
        next(cron.times(MONDAY, datetime(2027, 1, 1)), None)
