"""Tonight's figures beside those of earlier nights and of the champion."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs.report.content import Night, Report
from jobs.report.history import WEEK


@dataclass(frozen=True)
class Row:
    """A figure, beside those of the nights that were published, as gates compare it. `bound`,
    `passed` and `reason` are None of one that no gate looks at."""

    metric: str
    tonight: float | None
    last_night: float | None
    median: float | None
    champion: float | None
    bound: str | None = None
    passed: bool | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for report.json."""
        return asdict(self)


def gate_rows(report: Report) -> list[Row]:
    """A row for each gate, in the order of the spec."""
    return [
        _row(report, gate["metric"], gate["figure"], gate) for gate in report.verdict["results"]
    ]


def other_rows(report: Report) -> list[Row]:
    """A row for each figure that no gate looks at."""
    gated = {gate["metric"] for gate in report.verdict["results"]}
    others = {name: value for name, value in report.figures.items() if name not in gated}
    return [_row(report, name, value, {}) for name, value in others.items()]


def series(report: Report) -> dict[str, list[float | None]]:
    """Each figure of the earlier nights and of tonight, oldest first, and the cost per 1,000."""
    lines: dict[str, list[float | None]] = {
        name: [*(night.figures.get(name) for night in report.nights), tonight]
        for name, tonight in report.figures.items()
    }
    economics = report.economics
    if economics is not None and economics.per_1000_accepted is not None:
        past = [_cost(night, economics.currency) for night in report.nights]
        lines[f"{economics.currency} per 1,000 accepted"] = [*past, economics.per_1000_accepted]
    return lines


def _cost(night: Night, currency: str | None) -> float | None:
    known = night.economics.get("currency") == currency
    cost = night.economics.get("per_1000_accepted")
    return float(cost) if known and isinstance(cost, int | float) else None


def _row(report: Report, name: str, tonight: float | None, gate: Mapping[str, Any]) -> Row:
    published = [night for night in report.nights if night.published][-WEEK:]
    known = _known(published, name)
    return Row(
        name,
        tonight,
        published[-1].figures.get(name) if published else None,
        statistics.median(known) if known else None,
        (report.champion or {}).get(name),
        gate.get("bound"),
        gate.get("passed"),
        gate.get("reason"),
    )


def _known(nights: Sequence[Night], name: str) -> list[float]:
    return [night.figures[name] for night in nights if name in night.figures]
