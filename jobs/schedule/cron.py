"""Five fields of cron, or a word as @daily: the times of a day, and the days that have them.

cronsim reads the fields and finds the days. Zones are none of its business here, see timetable.py:
it knows the rules of Debian's cron, under which a time with a step that falls in a gap is lost, and
one in an hour that comes twice runs twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

from jobs.errors import shortened

WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31, L or LW",
    "month": "1 to 12 or JAN to DEC",
    "day of the week": "0 to 7 or SUN to SAT",
}
MAX_CHARACTERS = 200

_A_DAY = timedelta(days=1)
_ANY = datetime(2000, 1, 1)


@dataclass(frozen=True)
class Cron:
    """An expression, read. `minutes` are the times of a day, in minutes since midnight, ascending;
    `days` is the expression at midnight of the days that have them.

    `every_hour`: no hour was chosen, so that the hours themselves are counted.
    """

    minutes: tuple[int, ...]
    days: str
    every_hour: bool

    def times(self, low: datetime, high: datetime) -> Iterator[datetime]:
        """The times that a clock without a zone shows from `low` until before `high`."""
        for midnight, first, last in self._parts(low, high):
            for minute in self.minutes[first:last]:
                yield midnight + timedelta(minutes=minute)

    def count(self, low: datetime, high: datetime) -> int:
        """How many `times` there are; as quick for every minute as for once a day."""
        return sum(last - first for _, first, last in self._parts(low, high))

    def _parts(self, low: datetime, high: datetime) -> Iterator[tuple[datetime, int, int]]:
        """Each of the days, and which of its times lie from `low` until before `high`."""
        if low >= high:
            return
        before = datetime(low.year, low.month, low.day) - timedelta(seconds=1)
        for midnight in CronSim(self.days, before):
            if midnight >= high:
                return
            yield midnight, self._earlier(low - midnight), self._earlier(high - midnight)

    def _earlier(self, since_midnight: timedelta) -> int:
        """How many times of a day are earlier than that."""
        if since_midnight >= _A_DAY:
            return len(self.minutes)
        return bisect_left(self.minutes, since_midnight / timedelta(minutes=1))


def parse_cron(text: str) -> Cron:
    """What an expression says. Raises ValueError, which names every field that is wrong."""
    fields = WORDS.get(text.strip().lower(), text).split()
    if text.lstrip().startswith("@") and len(fields) == 1:
        raise ValueError(f"must be one of {', '.join(WORDS)} (got {shortened(text)})")
    if len(fields) != len(FIELDS) or len(text) > MAX_CHARACTERS:
        names = ", ".join(FIELDS)
        raise ValueError(f"must have five fields: {names} (got {len(fields)}: {shortened(text)})")
    if wrong := [
        f"the {name} must be {allowed} (got {shortened(field)})"
        for number, (field, (name, allowed)) in enumerate(zip(fields, FIELDS.items(), strict=True))
        if _read(["*"] * number + [field] + ["*"] * (len(FIELDS) - 1 - number)) is None
    ]:
        raise ValueError(
            f"{'; '.join(wrong)}. A field is a number, a range as 1-5, a list as 1,3, or has a "
            "step as */15"
        )
    read = _read(fields)
    if read is None:
        raise ValueError(f"names a day that none of its months has (got {shortened(text)})")
    minutes = [hour * 60 + minute for hour in sorted(read.hours) for minute in sorted(read.minutes)]
    return Cron(tuple(minutes), " ".join(["0", "0", *fields[2:]]), len(read.hours) == 24)


def _read(fields: list[str]) -> CronSim | None:
    """What cronsim makes of the fields, if it makes anything of them."""
    try:
        return CronSim(" ".join(fields), _ANY)
    except (CronSimError, ValueError, AssertionError):
        # The second of numbers with thousands of digits, the third of steps from a named day.
        return None
