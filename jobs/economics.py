"""What a generated dataset cost, what it is worth by the spec's price list, and what is left."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from aigc.config import Config
from cluster.meter import Usage

HOUR, KWH, GIGABYTE = 3600.0, 3.6e6, 1e9
"""In seconds, in joules, in bytes."""

MEASURED = ("cpu_hours", "gpu_hours", "kwh")
PRICED = ("cost", "per_1000_made", "per_1000_accepted")
EARNED = ("value", "margin")
"""Figures that are held against those of earlier nights: what has a price in the same currency
only, and what was earned beside nights that were published only, as the others earned nothing."""


class Economics(Config):
    """A price list, in one currency. Hours are of one processor core, and of one GPU, held.

    `gb_month` is the price of keeping a gigabyte for a month, which is counted once. What a sample
    is worth, `value_per_sample`, nobody can know but who uses it. The watts serve for energy that
    nothing has measured.
    """

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    cpu_hour: float = Field(ge=0, le=1e6)
    gpu_hour: float = Field(default=0.0, ge=0, le=1e6)
    kwh: float = Field(default=0.0, ge=0, le=1e6)
    gb_month: float = Field(default=0.0, ge=0, le=1e6)
    value_per_sample: float | None = Field(default=None, ge=0, le=1e9)
    watts_per_core: float = Field(default=10.0, ge=0, le=1e3)
    watts_per_gpu: float = Field(default=300.0, ge=0, le=1e4)


UNPRICED = Economics(cpu_hour=0)
"""Without a price list: its watts only are used."""


@dataclass(frozen=True)
class UnitEconomics:
    """The account of one night. Money is None without a price list.

    `cpu_busy` and `gpu_busy` are the shares of the hours in which something was computed, None of
    no hours or where nobody can say. `parts` are the costs by what is paid for; `cost` is their
    sum, and `per_1000_accepted` is None when nothing was accepted. `value` is that of a published
    dataset, 0 of one that is not, None if the price list has none; `margin` is what is left of it,
    and `break_even` is what an accepted sample has to be worth for a margin of 0.
    """

    made: int
    accepted: int
    cpu_hours: float
    cpu_busy: float | None
    gpu_hours: float
    gpu_busy: float | None
    kwh: float
    method: str
    currency: str | None = None
    parts: Mapping[str, float] | None = None
    cost: float | None = None
    per_1000_made: float | None = None
    per_1000_accepted: float | None = None
    value: float | None = None
    margin: float | None = None
    break_even: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored and shown."""
        return asdict(self)

    def figures(self) -> dict[str, float]:
        """What is a number, and is known, by its name: for MLflow."""
        plain = self.as_dict()
        return {name: float(v) for name, v in plain.items() if isinstance(v, int | float)}


@dataclass(frozen=True)
class Change:
    """A figure beside earlier ones, in a `currency` if it is money. The changes are shares, 0.1 for
    a tenth more; None when there is nothing to compare with, or that is 0 or a loss."""

    figure: str
    currency: str | None
    tonight: float
    last: float | None
    median: float | None
    since_last: float | None
    since_median: float | None


def account(
    usage: Usage,
    prices: Economics | None,
    *,
    made: int,
    accepted: int,
    stored: int = 0,
    published: bool = True,
) -> UnitEconomics:
    """The account of a night that made `made` candidates, of which `accepted` are in its dataset.

    `stored` is the dataset's size in bytes.
    """
    energy, method = _energy(usage, prices or UNPRICED)
    hours = UnitEconomics(
        made=made,
        accepted=accepted,
        cpu_hours=usage.cpu_held_seconds / HOUR,
        cpu_busy=_share(usage.cpu_seconds, usage.cpu_held_seconds),
        gpu_hours=usage.gpu_held_seconds / HOUR,
        gpu_busy=_share(usage.gpu_busy_seconds, usage.gpu_held_seconds),
        kwh=energy,
        method=method,
    )
    return _priced(hours, prices, stored, published) if prices else hours


def compare(
    tonight: UnitEconomics,
    earlier: Sequence[Mapping[str, Any]],
    published: Sequence[Mapping[str, Any]],
) -> list[Change]:
    """Each figure beside the last one, and beside the median, of earlier accounts, newest last;
    `published` are those of nights that were.

    They are plain data, as `as_dict` has it, of which anything may be missing.
    """
    currency = tonight.currency
    priced, earned = (
        [each for each in nights if each.get("currency") == currency]
        for nights in (earlier, published)
    )
    groups = ((MEASURED, earlier, None), (PRICED, priced, currency), (EARNED, earned, currency))
    return [
        _change(name, unit, figure, nights)
        for names, nights, unit in groups
        for name in names
        if (figure := getattr(tonight, name)) is not None
    ]


def _priced(hours: UnitEconomics, prices: Economics, stored: int, published: bool) -> UnitEconomics:
    parts = {
        "processors": hours.cpu_hours * prices.cpu_hour,
        "GPUs": hours.gpu_hours * prices.gpu_hour,
        "energy": hours.kwh * prices.kwh,
        "storage for a month": stored / GIGABYTE * prices.gb_month,
    }
    cost, worth = sum(parts.values()), prices.value_per_sample
    value = None if worth is None else worth * hours.accepted * published
    return UnitEconomics(
        **hours.as_dict()
        | {
            "currency": prices.currency,
            "parts": parts,
            "cost": cost,
            "per_1000_made": _ratio(1000 * cost, hours.made),
            "per_1000_accepted": _ratio(1000 * cost, hours.accepted),
            "value": value,
            "margin": None if value is None else value - cost,
            "break_even": _ratio(cost, hours.accepted),
        }
    )


def _energy(usage: Usage, prices: Economics) -> tuple[float, str]:
    """Kilowatt-hours, and how they were found."""
    processors = usage.cpu_seconds * prices.watts_per_core
    how = f"processors: estimate, {prices.watts_per_core:g} W for each busy core"
    if not usage.gpu_held_seconds:
        return processors / KWH, how
    if usage.gpu_joules is not None:
        return (processors + usage.gpu_joules) / KWH, f"{how}; GPUs: measured by NVML"
    gpus = usage.gpu_held_seconds * prices.watts_per_gpu
    how += f"; GPUs: estimate, {prices.watts_per_gpu:g} W for each that is held"
    return (processors + gpus) / KWH, how


def _change(
    name: str, currency: str | None, figure: float, nights: Sequence[Mapping[str, Any]]
) -> Change:
    known = [each[name] for each in nights if isinstance(each.get(name), int | float)]
    last = known[-1] if known else None
    median = statistics.median(known) if known else None
    growths = _growth(figure, last), _growth(figure, median)
    return Change(name, currency, figure, last, median, *growths)


def _growth(figure: float, before: float | None) -> float | None:
    """Of a loss there is no share that would say anything."""
    return (figure - before) / before if before is not None and before > 0 else None


def _ratio(amount: float, count: float) -> float | None:
    return amount / count if count else None


def _share(part: float | None, whole: float) -> float | None:
    return part / whole if part is not None and whole else None
