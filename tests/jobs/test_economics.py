"""What a night costs: every part of the account, and where there is nothing to divide by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from cluster.meter import Usage
from jobs.economics import Economics, UnitEconomics, account, compare

USAGE = Usage(
    cpu_seconds=3600,
    cpu_held_seconds=7200,
    gpu_busy_seconds=900,
    gpu_held_seconds=3600,
    gpu_joules=3.6e6,
)
PRICES = Economics(
    currency="USD", cpu_hour=0.5, gpu_hour=2, kwh=0.25, gb_month=0.1, value_per_sample=0.01
)


def night(**changes: object) -> UnitEconomics:
    chosen = {"made": 2000, "accepted": 1000, "stored": 2_000_000_000} | changes
    return account(USAGE, PRICES, **chosen)  # type: ignore[arg-type]


def test_an_account_adds_up() -> None:
    found = night()
    assert (found.cpu_hours, found.cpu_busy) == (2, 0.5)
    assert (found.gpu_hours, found.gpu_busy) == (1, 0.25)
    assert found.kwh == pytest.approx(1.01)
    assert found.parts == pytest.approx(
        {"processors": 1.0, "GPUs": 2.0, "energy": 0.2525, "storage for a month": 0.2}
    )
    assert found.cost == pytest.approx(3.4525)
    assert found.per_1000_made == pytest.approx(1.72625)
    assert found.per_1000_accepted == pytest.approx(3.4525)
    assert found.value == 10
    assert found.margin == pytest.approx(6.5475)
    assert found.break_even == pytest.approx(0.0034525)


def test_what_was_not_published_is_worth_nothing_and_costs_the_same() -> None:
    found = night(published=False)
    assert found.value == 0
    assert found.margin == -night().cost  # type: ignore[operator]


def test_nothing_accepted_has_no_price_a_thousand() -> None:
    found = night(accepted=0)
    assert found.per_1000_accepted is None
    assert found.break_even is None
    assert found.per_1000_made is not None
    assert night(made=0, accepted=0).per_1000_made is None


def test_without_prices_there_are_hours_and_no_money() -> None:
    found = account(USAGE, None, made=10, accepted=10)
    assert found.cpu_hours == 2
    assert (found.currency, found.cost, found.value, found.margin) == (None,) * 4
    assert "cost" not in found.figures()


def test_a_free_gpu_and_no_value_are_no_surprise() -> None:
    found = account(USAGE, Economics(cpu_hour=0), made=10, accepted=10)
    assert (found.cost, found.per_1000_accepted) == (0, 0)
    assert (found.value, found.margin) == (None, None)


def test_the_method_of_the_energy_is_named() -> None:
    assert "measured by NVML" in night().method
    guessed = account(replace(USAGE, gpu_joules=None), PRICES, made=1, accepted=1)
    assert guessed.method.count("estimate") == 2
    assert guessed.kwh == pytest.approx(0.01 + 0.3)
    no_gpu = account(Usage(36, 36), PRICES, made=1, accepted=1)
    assert "GPU" not in no_gpu.method
    assert no_gpu.gpu_busy is None


def test_a_night_is_compared_with_the_last_one_and_the_median() -> None:
    costs = (1.0, 4.0, 2.0)
    changes = {c.figure: c for c in compare(night(), [_costing(cost) for cost in costs], [])}
    cost = changes["cost"]
    assert (cost.last, cost.median) == (2.0, 2.0)
    assert cost.since_last == pytest.approx(0.72625)


def test_other_currencies_and_zeros_are_not_compared() -> None:
    earlier = [_costing(1.0, "EUR"), {"gpu_hours": 0}]
    changes = {c.figure: c for c in compare(night(), earlier, [])}
    assert changes["cost"].last is None
    assert (changes["gpu_hours"].last, changes["gpu_hours"].since_last) == (0, None)


def test_earnings_stand_beside_nights_that_were_published() -> None:
    good, lost = night().as_dict(), night(published=False).as_dict()
    changes = {c.figure: c for c in compare(night(), [good, lost], [good])}
    assert (changes["margin"].last, changes["margin"].since_last) == (good["margin"], 0)
    assert (changes["value"].median, changes["value"].since_median) == (10, 0)
    assert changes["cost"].last == lost["cost"]
    alone = {c.figure: c for c in compare(night(), [lost], [])}
    assert (alone["margin"].last, alone["margin"].since_last) == (None, None)


def test_beside_a_loss_there_is_no_share() -> None:
    loss = {"currency": "USD", "margin": -1e-6}
    margin = next(c for c in compare(night(), [loss], [loss]) if c.figure == "margin")
    assert (margin.last, margin.since_last, margin.since_median) == (-1e-6, None, None)


@pytest.mark.parametrize("wrong", [{"currency": "euro"}, {"cpu_hour": -1}, {"kwh": float("nan")}])
def test_a_price_list_has_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Economics(**{"cpu_hour": 1.0, **wrong})  # type: ignore[arg-type]


def _costing(cost: float, currency: str = "USD") -> dict[str, object]:
    return {"currency": currency, "cost": cost}
