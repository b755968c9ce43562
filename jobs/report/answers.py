"""What a reader wants to know first, in a sentence each: may I use it, its cost, did it copy."""

from __future__ import annotations

from jobs.economics import UnitEconomics
from jobs.report.content import Copying, Report
from jobs.report.words import counted, money


def why(report: Report) -> str:
    """The verdict in one sentence."""
    gates = report.verdict["results"]
    failed = [gate["reason"] for gate in gates if not gate["passed"]]
    if failed:
        said = f"{len(failed)} of {counted(len(gates), 'gate')} failed: {'; '.join(failed)}"
    elif gates:
        said = "The only gate passed" if len(gates) == 1 else f"All {len(gates)} gates passed"
    else:
        said = "There were no gates to pass"
    if report.published == report.verdict["passed"]:
        return f"{said}."
    return f"{said}, and yet it was {'' if report.published else 'not '}published."


def answer(report: Report) -> str:
    """May I use it, what does it cost, and did it copy, in one sentence."""
    allowed = "You may use" if report.published else "Do not use"
    parts = [f"{allowed} these {counted(report.accepted, 'sample')}"]
    parts += [_price(report.economics), _copied(report.copying)]
    return "; ".join(parts) + "."


def worth(economics: UnitEconomics) -> str:
    """Gold mine or bubble, in numbers."""
    if economics.currency is None or economics.cost is None:
        return "The spec has no price list (economics), so that hours and energy are all there is."
    currency = economics.currency
    if economics.value is None:
        if economics.break_even is None:
            return f"It cost {money(economics.cost, currency)}, and nothing was accepted."
        least = money(economics.break_even, currency)
        return (
            f"It pays if a sample is worth more than {least}; "
            "the spec does not say what one is worth (economics.value_per_sample)."
        )
    value, cost = money(economics.value, currency), money(economics.cost, currency)
    margin = value_left(economics)
    return f"It is worth {value} by the spec's own price, and cost {cost}: {margin}."


def value_left(economics: UnitEconomics) -> str:
    """The margin in words."""
    assert economics.margin is not None
    assert economics.currency is not None
    amount = money(abs(economics.margin), economics.currency)
    return f"a loss of {amount}" if economics.margin < 0 else f"a margin of {amount}"


def _price(economics: UnitEconomics | None) -> str:
    if economics is None or economics.cost is None or economics.currency is None:
        return "what they cost is not known, for want of a price list"
    cost = money(economics.cost, economics.currency)
    if economics.per_1000_accepted is None:
        return f"they cost {cost}, and none was accepted"
    return f"they cost {cost}, {money(economics.per_1000_accepted, economics.currency)} per 1,000"


def _copied(copying: Copying | None) -> str:
    if copying is None:
        return "nobody looked whether they copy the training data"
    if copying.kept:
        return f"{copying.kept:,} of them copy the training data"
    left = f" ({copying.rejected:,} that did were left out)" if copying.rejected else ""
    return f"none of {copying.checked:,} that were compared copies the training data{left}"
