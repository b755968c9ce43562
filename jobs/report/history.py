"""The earlier nights of a dataset, read from their reports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from aigc.data.manifest import MANIFEST
from aigc.errors import MetricUnknown
from aigc.metrics import parse
from jobs.report.content import Night

JSON = "report.json"
NIGHTS, WEEK = 30, 7
"""Nights that a report looks back on, and those of which it takes the median."""


def history(datasets: Path, name: str, besides: str = "") -> list[Night]:
    """The nights of the dataset `name`, published or quarantined, newest last.

    The version `besides` is not among them, nor is one whose report is missing, damaged or of no
    date. Reports of earlier formats have less to say.
    """
    folder = datasets / name
    versions = [path.parent for path in folder.glob(f"*/{JSON}") if path.parent.name != besides]
    dated = [night for version in versions if (night := _night(version)) is not None]
    dated.sort(key=lambda night: (datetime.fromisoformat(night.created), night.dataset))
    return dated


def recent(nights: Sequence[Night]) -> list[Night]:
    """Of nights, newest last, the last 30, and the last seven that were published, even if all of
    a month were quarantined: the next one is compared with those."""
    published = [at for at, night in enumerate(nights) if night.published][-WEEK:]
    month = range(max(0, len(nights) - NIGHTS), len(nights))
    return [nights[at] for at in sorted({*published, *month})]


def comparable(nights: Sequence[Night], evaluation: Mapping[str, Any] | None) -> list[Night]:
    """The nights with those of their figures that compare with tonight's: a metric only where it
    was taken on the same held-out data under the same extractor as tonight's `evaluation`."""
    protocol = _protocol(evaluation)
    return [
        night
        if night.protocol == protocol
        else replace(night, figures={n: v for n, v in night.figures.items() if not _is_metric(n)})
        for night in nights
    ]


def _protocol(evaluation: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return (evaluation["dataset_digest"], evaluation["extractor_digest"]) if evaluation else None


def _is_metric(name: str) -> bool:
    try:
        parse(name)
    except MetricUnknown:
        return False
    return True


def _night(folder: Path) -> Night | None:
    """What the report in the folder of a version says; None if it says nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        said = json.loads((folder / JSON).read_text(encoding="utf-8"))
        if datetime.fromisoformat(said["created"]).utcoffset() is None:
            return None
        funnel, copying = said.get("funnel") or {}, said.get("copying") or {}
        return Night(
            dataset=str(said["dataset"]),
            created=said["created"],
            # A job that died after the report has not published what the report says.
            published=(folder / MANIFEST).exists(),
            figures=_numbers(said["figures"]),
            accepted=funnel.get("accepted", said["plan"]["count"]),
            economics=dict(said.get("economics") or {}),
            copies=copying.get("kept"),
            gated=list(dict.fromkeys(each["metric"] for each in said["verdict"]["results"])),
            why=_why(said["verdict"]),
            protocol=_protocol(said.get("evaluation")),
        )
    return None


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(figure)
        for name, figure in figures.items()
        if isinstance(figure, int | float) and math.isfinite(figure)
    }


def _why(verdict: Mapping[str, Any]) -> str:
    return "; ".join(str(gate["reason"]) for gate in verdict["results"] if not gate["passed"])
