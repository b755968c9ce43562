"""Clocks: runs, locks and schedules are put in order by times of several machines."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from cluster.doctor.contract import Finding, ok, problem, warning

APART_SECONDS = 3.0
"""A Date header is whole seconds, and an answer travels."""
FAR_APART_SECONDS = 60.0
ADVICE = "Let both keep their time by NTP: see timedatectl status"


def judge_clock(name: str, offset_seconds: float, whose: str) -> Finding:
    """How far another clock is ahead of this machine's; behind, if negative."""
    apart = abs(offset_seconds)
    found = f"{whose} clock is {apart:.0f} s {'ahead' if offset_seconds > 0 else 'behind'}"
    if apart > FAR_APART_SECONDS:
        return problem(name, found, ADVICE)
    if apart > APART_SECONDS:
        return warning(name, found, ADVICE)
    return ok(name, f"{whose} clock is the same within {APART_SECONDS:g} s")


def seconds_ahead(date: str | None, now: float) -> float | None:
    """How far a Date header is ahead of `now`, seconds since 1970; in the middle of its second."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except ValueError:
        return None
