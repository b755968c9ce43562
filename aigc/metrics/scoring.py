"""From names and evidence to figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from aigc.errors import DataError
from aigc.metrics.features import Evidence, Features
from aigc.metrics.names import MetricName, parse
from aigc.metrics.table import METRICS


def score(names: Sequence[str], evidence: Evidence) -> dict[str, float]:
    """One finite figure a name, in the order of `names`.

    Everything is checked before anything is computed. Raises MetricUnknown for a name that cannot
    be read; DataError when records are too few, their features are not finite, or a figure is
    not; ModelError when a model cannot have that figure.
    """
    chosen = [parse(name) for name in names]
    for name in chosen:
        _check_enough(name, evidence)
    _check_finite("generated", evidence.generated)
    _check_finite("held-out", evidence.held_out)
    _check_finite("training", evidence.training)
    return {str(name): _figure(name, evidence) for name in chosen}


def _figure(name: MetricName, evidence: Evidence) -> float:
    if name.count is not None:
        evidence = replace(evidence, generated=evidence.generated.first(name.count))
    figure = METRICS[name.metric].compute(evidence)
    if not math.isfinite(figure):
        raise DataError(
            f"The metric {name} came out as {figure}",
            "Look at the samples and at the training's losses: the model has probably diverged.",
        )
    return figure


def _check_enough(name: MetricName, evidence: Evidence) -> None:
    available = len(evidence.generated.features)
    if name.count is not None and available < name.count:
        raise DataError(
            f"The metric {name} looks at {name.count} samples, and there are {available}",
            "Generate more samples, or ask for a smaller count.",
        )
    held_out, least = len(evidence.held_out.features), METRICS[name.metric].least
    if held_out < least:
        raise DataError(
            f"The metric {name} needs at least {least} held-out records, and there are {held_out}",
            "Import the dataset again with a larger held-out split.",
        )


def _check_finite(what: str, records: Features) -> None:
    finite = records.features.isfinite().all(dim=1) & records.probabilities.isfinite().all(dim=1)
    if not finite.all():
        first = int(finite.int().argmin())
        raise DataError(
            f"The features of the {what} records are not finite, first those of record {first}",
            "Look for NaN in the records themselves; a model that makes them has diverged.",
        )
