"""Gates, and the pure judgement whether figures pass them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from aigc.config import Config
from aigc.errors import MetricUnknown
from aigc.metrics import METRICS, parse


class Bound(Config):
    """How large or small a figure may be; the limits themselves pass.

    `of_champion` and `of_nights` are factors by which it may be worse than the champion's own
    figure, and than the median of the last nights.
    """

    at_most: float | None = None
    at_least: float | None = None
    of_champion: float | None = Field(default=None, gt=0)
    of_nights: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _leaves_room(self) -> Bound:
        if all(limit is None for limit in vars(self).values()):
            raise ValueError("needs at_most, at_least, of_champion or of_nights")
        if None not in (self.at_most, self.at_least) and not self.holds(self.at_most):
            raise ValueError(f"no figure is {self}")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, float]:
        return {name: limit for name, limit in vars(self).items() if limit is not None}

    @property
    def is_absolute(self) -> bool:
        """Whether it needs no other figure to be judged by."""
        return self.at_most is not None or self.at_least is not None

    def holds(self, figure: float | None) -> bool:
        """Whether the figure is there and within the limits; NaN never is."""
        if figure is None or math.isnan(figure):
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= figure <= high

    def __str__(self) -> str:
        limits = (
            ("at least {:g}", self.at_least),
            ("at most {:g}", self.at_most),
            ("{:g} × worse than the champion's at most", self.of_champion),
            ("{:g} × worse than the last nights' at most", self.of_nights),
        )
        return " and ".join(words.format(limit) for words, limit in limits if limit is not None)


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
    figures: Mapping[str, float],
    gates: Gates,
    champion: Mapping[str, float] | None,
    nights: Sequence[Mapping[str, float]] = (),
) -> Verdict:
    """Hold `figures` against the gates; `champion` has its figures, None when there is none, and
    `nights` have those of the last nights.

    A figure that is missing or not a number fails. Raises MetricUnknown for a comparison with the
    champion by a metric that has no better direction.
    """
    results = list[GateResult]()
    for name, bound in gates.bounds.items():
        figure = _figure(figures, name)
        if bound.is_absolute or figure is None:
            results.append(_within(name, figure, bound))
        if figure is not None:
            results += _beside(name, figure, bound, champion, nights)
    if metric := gates.better_than_champion:
        results.append(_better(metric, _figure(figures, metric), champion))
    return Verdict(all(result.passed for result in results), tuple(results))


def _figure(figures: Mapping[str, float], metric: str) -> float | None:
    figure = figures.get(metric)
    return figure if figure is not None and math.isfinite(figure) else None


def _within(metric: str, figure: float | None, bound: Bound) -> GateResult:
    if figure is None:
        reason = f"there is no figure for {metric}"
        return GateResult(metric, None, str(bound), False, reason)
    limits, passed = Bound(at_most=bound.at_most, at_least=bound.at_least), bound.holds(figure)
    reason = f"{metric} is {figure:g}, {'' if passed else 'not '}{limits}"
    return GateResult(metric, figure, str(limits), passed, reason)


def _beside(
    metric: str,
    figure: float,
    bound: Bound,
    champion: Mapping[str, float] | None,
    nights: Sequence[Mapping[str, float]],
) -> Iterator[GateResult]:
    """What the factors of a bound say."""
    if bound.of_champion is not None:
        own = _figure(champion or {}, metric)
        if own is None:
            reason = f"the champion has no figure for {metric} on this data: evaluate it first"
            rule = "beside the champion's, which has none"
            yield GateResult(metric, figure, rule, False, reason)
        else:
            yield _not_worse(metric, figure, own, bound.of_champion, "the champion's")
    if bound.of_nights is not None:
        earlier = [each for night in nights if (each := _figure(night, metric)) is not None]
        if not earlier:
            reason = f"{metric} is {figure:g}, and there is no night before to compare it with"
            rule = "beside the last nights, of which there is none to compare with"
            yield GateResult(metric, figure, rule, True, reason)
        else:
            usual = statistics.median(earlier)
            yield _not_worse(metric, figure, usual, bound.of_nights, "the last nights'")


def _not_worse(metric: str, figure: float, other: float, factor: float, whose: str) -> GateResult:
    """Whether a figure is not worse than another one by more than a factor."""
    limit = other * factor if lower_is_better(metric) else other / factor
    bound = Bound(at_most=limit) if lower_is_better(metric) else Bound(at_least=limit)
    passed = bound.holds(figure)
    rule = f"{bound}, {factor:g} × {whose} {other:g}"
    if not lower_is_better(metric):
        rule = f"{bound}, {whose} {other:g} / {factor:g}"
    reason = f"{metric} is {figure:g}, {'' if passed else 'not '}{rule}"
    return GateResult(metric, figure, rule, passed, reason)


def lower_is_better(metric: str) -> bool:
    """Whether a lower figure is better; of what is no metric, as the share of blanks, it is."""
    try:
        return METRICS[parse(metric).metric].better == "lower"
    except MetricUnknown:
        return True


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
