"""When a schedule is due: its ticks, by the clocks of its zone.

A clock that is set forward leaves times out: a tick in such a gap is due when the gap ends. A clock
that is set back shows times twice: a tick is due the first time only. Where no hour was chosen, as
in `*/15 * * * *` and @hourly, an hour that comes twice is two hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.schedule.cron import Cron
from jobs.schedule.zones import stretches

HORIZON = timedelta(days=366 * 50)
"""Further ahead nothing is looked for. The 29th of February is a Sunday every 28 years, or 40."""

_INSTANT = timedelta(microseconds=1)
_LARGEST_CHANGE = timedelta(days=2)
"""More than any clock was ever set back or forward by."""


@dataclass(frozen=True)
class _Window:
    """Times from `low` until before `high` on a clock that shows UTC + `offset`.

    With `instant`, they are times that no clock shows: all together they are due then.
    """

    low: datetime
    high: datetime
    offset: timedelta
    instant: datetime | None = None


@dataclass(frozen=True)
class Timetable:
    """The ticks of an expression in a zone, as instants of UTC."""

    cron: Cron
    zone: str

    def ticks(self, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
        """The ticks later than `after`, up to and with `until`, in their order."""
        for window in self._windows(_plain(after), _plain(until or after + HORIZON)):
            times = self.cron.times(window.low, window.high)
            if window.instant is None:
                yield from ((time - window.offset).replace(tzinfo=UTC) for time in times)
            elif next(times, None) is not None:
                yield window.instant.replace(tzinfo=UTC)

    def count(self, after: datetime, until: datetime) -> int:
        """How many ticks there are, at a cost that is that of the days between."""
        total = 0
        for window in self._windows(_plain(after), _plain(until)):
            found = self.cron.count(window.low, window.high)
            total += found if window.instant is None else min(found, 1)
        return total

    def _windows(self, after: datetime, until: datetime) -> Iterator[_Window]:
        """What clocks show in that time, in the order of the instants.

        `shown` is how far a clock has come before it was set.
        """
        shown = None
        for stretch in stretches(self.zone, after - _LARGEST_CHANGE, until + _INSTANT):
            begin, end = stretch.start + stretch.offset, stretch.end + stretch.offset
            earliest = after + _INSTANT + stretch.offset
            low = begin
            if shown is not None and shown < begin:
                low = begin + _INSTANT
                if stretch.start > after:
                    yield _Window(shown, low, stretch.offset, stretch.start)
            elif shown is not None and not self.cron.every_hour:
                low = shown
            if max(low, earliest) < end:
                yield _Window(max(low, earliest), end, stretch.offset)
            shown = end


def _plain(instant: datetime) -> datetime:
    """In UTC, and without saying so: what is compared here all is."""
    return instant.astimezone(UTC).replace(tzinfo=None)
