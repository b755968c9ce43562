"""The grammar of a metric's name: METRIC or METRIC_COUNT, with COUNT like 500, 1k or 50k."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aigc.errors import MetricUnknown
from aigc.metrics.table import METRICS

_NAME = re.compile(r"(?P<metric>.+?)(?:_(?P<count>[1-9][0-9]{0,8}k?))?")
_EXAMPLE_COUNT = 5000


@dataclass(frozen=True)
class MetricName:
    """An entry of METRICS, and how many samples it looks at (None for one that takes no count)."""

    metric: str
    count: int | None

    def __str__(self) -> str:
        if self.count is None:
            return self.metric
        thousands, rest = divmod(self.count, 1000)
        return f"{self.metric}_{self.count}" if rest else f"{self.metric}_{thousands}k"


def parse(name: str) -> MetricName:
    """Read `name`; str() of the result is `name` again, as a figure has one spelling only.

    Raises MetricUnknown, which suggests the nearest name, when there is no such metric, its count
    is missing, superfluous or too small to define it, or is spelled 1000 where 1k is meant.
    """
    parts = _NAME.fullmatch(name)
    metric, written = parts.group("metric", "count") if parts else (name, None)
    if metric not in METRICS:
        raise _unknown(name, metric)
    parsed = MetricName(metric, _number(written))
    _check_count(parsed, name)
    return parsed


def needed(names: Iterable[str]) -> int:
    """How many samples must be generated before `names` can be scored. Raises MetricUnknown."""
    return max((parse(name).count or 0 for name in names), default=0)


def likelihoods(names: Iterable[str]) -> list[str]:
    """Those of `names` that ask for the model's likelihood. Raises MetricUnknown."""
    return [name for name in names if parse(name).count is None]


def _number(written: str | None) -> int | None:
    if written is None:
        return None
    return int(written[:-1]) * 1000 if written.endswith("k") else int(written)


def _check_count(parsed: MetricName, name: str) -> None:
    metric, count = parsed.metric, parsed.count
    least = METRICS[metric].least
    if count is None and least:
        what = f"The metric {name} does not say how many samples it looks at"
        raise MetricUnknown(what, f"Write for example {_example(metric)}.")
    if count is not None and not least:
        what = f"The metric {metric} looks at no samples, but {name} gives it a count"
        raise MetricUnknown(what, f"Write {metric}.")
    if count is not None and count < least:
        what = f"The metric {name} looks at {count} samples, and {metric} needs at least {least}"
        raise MetricUnknown(what, f"Write for example {_example(metric)}.")
    if str(parsed) != name:
        raise MetricUnknown(f"The metric {name} has another spelling", f"Write {parsed}.")


def _unknown(name: str, metric: str) -> MetricUnknown:
    close = difflib.get_close_matches(metric, METRICS, n=1)
    suggestion = f"Did you mean {_example(close[0])}? " if close else ""
    known = ", ".join(_example(known) for known in METRICS)
    return MetricUnknown(f"There is no metric {name}", f"{suggestion}Known, at any count: {known}.")


def _example(metric: str) -> str:
    return str(MetricName(metric, _EXAMPLE_COUNT if METRICS[metric].needs_count else None))
