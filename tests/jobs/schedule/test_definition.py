"""A schedule's file: every mistake with its line, and what the fields mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import SpecInvalid
from jobs.schedule.definition import Schedule, check_schedule, duration, load_schedule
from jobs.source import parse, written

TEXT = """\
name: nightly
cron: 30 2 * * *
zone: Europe/Berlin
job:
  kind: generate
  name: nightly-digits
  model: digits@champion
  count: 10
  publish: {dataset: digits-nightly}
"""


def refused(text: str) -> list[str]:
    with pytest.raises(SpecInvalid) as error:
        check_schedule(parse(text.encode(), "s.yaml"))
    return [str(problem) for problem in error.value.problems]


def test_the_defaults_are_the_safe_ones() -> None:
    schedule = check_schedule(parse(TEXT.encode(), "s.yaml"))
    said = (schedule.overlap, schedule.catch_up, schedule.deadline, schedule.retries.count)
    assert said == ("forbid", "latest", "6h", 0)
    assert schedule.job.name == "nightly-digits"


def test_it_is_the_same_when_written_and_read_again(tmp_path: Path) -> None:
    schedule = check_schedule(parse(f"{TEXT}end: 2027-01-31\n".encode(), "s.yaml"))
    path = tmp_path / "again.yaml"
    path.write_text(written(schedule.model_dump(mode="json")))
    assert load_schedule(path) == schedule


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("30 2", "61 25", "s.yaml:2: cron: the minute must be 0 to 59"),
        ("30 2", "0 30 2", "s.yaml:2: cron: must have five fields"),
        ("Berlin", "Berln", "s.yaml:3: zone: must be the name of a time zone. Did you mean Europe"),
        ("Europe/Berlin", "../../etc/passwd", "s.yaml:3: zone: must be the name of a time zone"),
        ("zone: Europe/Berlin\n", "", "s.yaml:1: zone: is missing"),
        ("job:", "overlap: forbidd\njob:", "s.yaml:4: overlap: must be one of forbid, replace"),
        ("job:", "deadline: 10s\njob:", "s.yaml:4: deadline: must be at least 1m"),
        ("job:", "deadline: 6 hours\njob:", "s.yaml:4: deadline: must be a time as 90s"),
        ("job:", "deadline: 8d\njob:", "s.yaml:4: deadline: must be a time as 90s"),
        ("job:", "jitter: 6h\njob:", "s.yaml:4: jitter: must be shorter than the deadline"),
        ("job:", "end: tomorrow\njob:", "s.yaml:4: end: "),
        ("job:", "retries: {count: -1}\njob:", "s.yaml:4: retries.count: must be at least 0"),
        ("count: 10", "count: 0", "s.yaml:8: job.count: must be greater than 0"),
        ("generate", "generat", "s.yaml:5: job.kind: must be one of train"),
        ("cron", "crom", "s.yaml:2: crom: unknown key. Did you mean cron?"),
        ("name: nightly\n", "kind: train\nname: n\n", "s.yaml:1: kind: must be schedule"),
        ("30 2 * * *", "@daily", "s.yaml:2: is not YAML here"),
        ("30 2 * * *", "'@dayly'", "s.yaml:2: cron: must be one of @hourly"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, said: str) -> None:
    assert any(each.startswith(said) for each in refused(TEXT.replace(old, new, 1)))


def test_mistakes_are_reported_together() -> None:
    text = TEXT.replace("30 2", "61 25").replace("Berlin", "Nowhere").replace("count: 10", "")
    assert [each.split(": ")[0] for each in refused(text)] == ["s.yaml:2", "s.yaml:3", "s.yaml:4"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21600), ("7d", 604800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


def test_pauses_double_up_to_the_longest(asking: Any) -> None:
    retries = asking(retries={"count": 4, "pause": "1m", "longest": "3m"}).retries
    pauses = [retries.pause_after(attempt) for attempt in range(1, 6)]
    assert pauses == [timedelta(minutes=each) for each in (1, 2, 3, 3)] + [None]


def test_the_end_is_that_of_the_date_in_its_zone(asking: Any) -> None:
    schedule: Schedule = asking(end="2026-10-25")
    assert schedule.last_instant == datetime(2026, 10, 25, 22, 59, 59, tzinfo=UTC)


def test_jitter_is_the_same_for_everyone_and_within_its_bound(asking: Any) -> None:
    schedule: Schedule = asking(jitter="10m")
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 32)]
    put_off = [schedule.start_of(each) - each for each in moments]
    assert put_off == [asking(jitter="10m").start_of(each) - each for each in moments]
    assert len(set(put_off)) > 20
    assert all(timedelta() <= each <= timedelta(minutes=10) for each in put_off)
    assert asking().start_of(moments[0]) == moments[0]
