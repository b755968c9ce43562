"""Gates, and the pure judgement whether figures pass them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from aigc.config import Config
from aigc.metrics import METRICS, parse


class Bound(Config):
    """How large or small a figure may be; the limits themselves pass."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _leaves_room(self) -> Bound:
        if self.at_most is None and self.at_least is None:
            raise ValueError("needs at_most, at_least or both")
        if None not in (self.at_most, self.at_least) and not self.holds(self.at_most):
            raise ValueError(f"no figure is {self}")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, float]:
        limits = {"at_least": self.at_least, "at_most": self.at_most}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def holds(self, figure: float | None) -> bool:
        """Whether the figure is there and within the limits; NaN never is."""
        if figure is None or math.isnan(figure):
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= figure <= high

    def __str__(self) -> str:
        limits = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)


class Gates(Config):
    """A bound for each metric by its name, and the metric that must be better than the champion's.

    Written flat, as {frechet_5k: {at_most: 60}, better_than_champion: frechet_5k}.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Bound] = Field(init=False)

    better_than_champion: str | None = None

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bound of each gated metric."""
        return dict(self.__pydantic_extra__)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a gate looks at, each once."""
        compared = [self.better_than_champion] if self.better_than_champion else []
        return tuple(dict.fromkeys([*self.bounds, *compared]))


@dataclass(frozen=True)
class GateResult:
    """What one gate said. `figure` is None when it is missing or no number."""

    metric: str
    figure: float | None
    bound: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether every gate passed, and what each said, in the order of the gates."""

    passed: bool
    results: tuple[GateResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored and shown."""
        return {"passed": self.passed, "results": [asdict(result) for result in self.results]}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Verdict:
        """The verdict that `as_dict` has made plain."""
        return cls(plain["passed"], tuple(GateResult(**each) for each in plain["results"]))

    def __str__(self) -> str:
        return "; ".join(result.reason for result in self.results) or "there are no gates"


def judge(
    figures: Mapping[str, float], gates: Gates, champion: Mapping[str, float] | None
) -> Verdict:
    """Hold `figures` against the gates; `champion` has its figures, None when there is none.

    A figure that is missing or not a number fails. Raises MetricUnknown for a comparison with the
    champion by a metric that has no better direction.
    """
    results = [
        _within(metric, _figure(figures, metric), bound) for metric, bound in gates.bounds.items()
    ]
    if metric := gates.better_than_champion:
        results.append(_better(metric, _figure(figures, metric), champion))
    return Verdict(all(result.passed for result in results), tuple(results))


def _figure(figures: Mapping[str, float], metric: str) -> float | None:
    figure = figures.get(metric)
    return figure if figure is not None and math.isfinite(figure) else None


def _within(metric: str, figure: float | None, bound: Bound) -> GateResult:
    passed = bound.holds(figure)
    if figure is None:
        reason = f"there is no figure for {metric}"
    else:
        reason = f"{metric} is {figure:g}, {'' if passed else 'not '}{bound}"
    return GateResult(metric, figure, str(bound), passed, reason)


def _better(metric: str, figure: float | None, champion: Mapping[str, float] | None) -> GateResult:
    lower = METRICS[parse(metric).metric].better == "lower"
    rule = f"{'lower' if lower else 'higher'} than the champion's"
    if figure is None:
        return GateResult(metric, None, rule, False, f"there is no figure for {metric}")
    if champion is None:
        reason = f"{metric} is {figure:g}, and there is no champion yet"
        return GateResult(metric, figure, rule, True, reason)
    rival = _figure(champion, metric)
    if rival is None:
        reason = f"the champion has no figure for {metric}: evaluate it first"
        return GateResult(metric, figure, rule, False, reason)
    passed = figure < rival if lower else figure > rival
    bound = f"{rule} {rival:g}"
    return GateResult(
        metric, figure, bound, passed, f"{metric} is {figure:g}, {'' if passed else 'not '}{bound}"
    )
