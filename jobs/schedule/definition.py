"""What one says of a schedule: when it is due, what it submits, and what happens when it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from aigc.config import Config
from aigc.seeds import derive
from cluster.schedules import Entry
from jobs.diagnosis import Contradictions, diagnose
from jobs.errors import FieldPath, SpecInvalid, shortened
from jobs.schedule.channels import Channel
from jobs.schedule.cron import parse_cron
from jobs.schedule.timetable import Timetable
from jobs.schedule.zones import zone
from jobs.sections import Name
from jobs.source import Source, parse, parse_kept, read, written
from jobs.spec import Spec

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = timedelta(days=7)
SHORTEST_DEADLINE = timedelta(minutes=1)


def duration(text: str) -> timedelta:
    """What 90s, 15m, 6h or 1d means. Raises ValueError; nothing is longer than a week."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    length = timedelta(seconds=int(found[1]) * UNITS[found[2]]) if found else None
    if length is None or length > LONGEST:
        raise ValueError(
            f"must be a time as 90s, 15m, 6h or 1d, and at most 7d (got {shortened(text)})"
        )
    return length


def _is_duration(text: str) -> str:
    duration(text)
    return text


def _is_cron(text: str) -> str:
    parse_cron(text)
    return text


def _is_zone(text: str) -> str:
    zone(text)
    return text


Duration = Annotated[str, AfterValidator(_is_duration)]
Overlap = Literal["forbid", "replace", "allow"]
CatchUp = Literal["none", "latest", "all"]


class Retries(Config):
    """How often the job of a tick is begun again after it has failed, and how long after.

    The first pause is `pause`; each further one is twice as long, and at most `longest`.
    """

    count: int = Field(default=0, ge=0, le=20)
    pause: Duration = "1m"
    longest: Duration = "1h"

    def pause_after(self, failure: int) -> timedelta | None:
        """How long to wait after that failure, counted from 1; None when it was the last one."""
        if failure > self.count:
            return None
        return min(duration(self.pause) * (1 << failure - 1), duration(self.longest))


class Timing(Config):
    """When a schedule is due, by `cron` and the clocks of `zone`, up to and with the date `end`.

    `overlap` says what becomes of a tick that is due while an earlier one is at work: it is
    skipped, or takes its place, or runs beside it. A tick that has not started `deadline` after it
    was due is missed. `catch_up` says which of the ticks that came due while nobody looked are
    still started: those of the last five minutes, the newest one, or up to `catch_up_at_most` of
    the newest ones. `jitter` is the most by which a start is put off, by as much for every engine.
    `notify` are those who are told when something is wrong with a tick, or right again.
    """

    kind: Literal["schedule"] = "schedule"
    name: Name
    cron: Annotated[str, AfterValidator(_is_cron)]
    zone: Annotated[str, AfterValidator(_is_zone)]
    overlap: Overlap = "forbid"
    deadline: Duration = "6h"
    catch_up: CatchUp = "latest"
    catch_up_at_most: int = Field(default=24, ge=1, le=1000)
    retries: Retries = Retries()
    jitter: Duration = "0s"
    end: date | None = None
    notify: Annotated[tuple[Channel, ...], Field(strict=False, max_length=10)] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Timing:
        if found := tuple(self._contradictions()):
            raise Contradictions(found)
        return self

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        if duration(self.deadline) < SHORTEST_DEADLINE:
            message = (
                f"must be at least 1m, for engines that look now and then (got {self.deadline})"
            )
            yield ("deadline",), message
        elif duration(self.jitter) >= duration(self.deadline):
            yield ("jitter",), f"must be shorter than the deadline, {self.deadline}"

    @cached_property
    def timetable(self) -> Timetable:
        """When it is due, without regard to its end."""
        return Timetable(parse_cron(self.cron), self.zone)

    @property
    def last_instant(self) -> datetime | None:
        """No tick is later than that: the end of its last date."""
        if self.end is None:
            return None
        midnight = datetime(self.end.year, self.end.month, self.end.day, 23, 59, 59)
        return midnight.replace(tzinfo=zone(self.zone), fold=1).astimezone(UTC)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than that."""
        return next(self.timetable.ticks(moment, self.last_instant), None)

    def start_of(self, due: datetime) -> datetime:
        """When the tick of that time is to start, which is put off by the jitter."""
        most = int(duration(self.jitter).total_seconds())
        return due + timedelta(seconds=derive(self.name, due.isoformat()) % (most + 1))


class Schedule(Timing):
    """The timing, and the job that every tick submits."""

    job: Annotated[Spec, Field(discriminator="kind")]

    def as_document(self) -> str:
        """It as YAML, which loads as the same schedule; as it is kept."""
        return written(self.model_dump(mode="json"))


def timing_of(entry: Entry) -> Timing:
    """When a schedule that is kept is due, also when its job no longer validates: that is a matter
    of its ticks. Raises SpecInvalid."""
    return timing_in(entry.definition, entry.name)


# An engine that serves asks of the same ones again and again.
@lru_cache(maxsize=16_384)
def timing_in(definition: str, name: str) -> Timing:
    """The same, of a definition that was kept with a tick. Raises SpecInvalid."""
    source = parse_kept(definition, f"schedule {name}")
    timing = {name: value for name, value in source.data.items() if name != "job"}
    return _checked(Timing, replace(source, data=timing))


def retries_of(definition: str) -> Retries:
    """Those of a schedule as it is kept; none when it can no longer be read."""
    try:
        written_there = parse(definition.encode(), "schedule").data.get("retries", {})
        return Retries.model_validate_json(json.dumps(written_there))
    except (SpecInvalid, ValidationError):
        return Retries()


def load_schedule(path: Path | str) -> Schedule:
    """The schedule in a file. Raises SpecInvalid, which holds every mistake with its line."""
    return check_schedule(read(path))


def check_schedule(source: Source) -> Schedule:
    """The schedule that plain data describes. Raises SpecInvalid."""
    kind = source.data.get("kind", "schedule")
    if kind != "schedule":
        message = f"must be schedule; a job is submitted by aigc submit (got {shortened(kind)})"
        raise SpecInvalid([source.problem(("kind",), message)])
    return _checked(Schedule, source)


T = TypeVar("T", bound=Timing)


def _checked(kind: type[T], source: Source) -> T:
    try:
        return kind.model_validate_json(json.dumps(source.data))
    except ValidationError as error:
        raise SpecInvalid(diagnose(error, source, kind)) from error


def schedule_schema() -> dict[str, Any]:
    """The JSON Schema of a schedule, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TypeAdapter(Schedule).json_schema(),
        "title": "aigc schedule",
    }
