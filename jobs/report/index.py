"""index.html over all nights of a dataset: one file, whose links lead to each night's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aigc.data.files import write_text
from jobs.report.content import Night
from jobs.report.history import NIGHTS, history
from jobs.report.page import environment
from jobs.report.sparkline import sparkline
from jobs.report.words import money

INDEX = "index.html"
FIGURES = 3
"""Columns of figures on the page, those of gates first, if there is more to see than zeros; the
reports have all of them."""


def write_index(datasets: Path, name: str) -> Path:
    """Write datasets/NAME/index.html, whole or not at all; its path.

    After a dataset was published or quarantined. Raises WorkspaceUnwritable.
    """
    path = datasets / name / INDEX
    write_text(path, as_index(name, history(datasets, name)))
    return path


def as_index(name: str, nights: Sequence[Night]) -> str:
    """The page of nights, which come oldest first."""
    recent = nights[-NIGHTS:]
    newest = nights[-1] if nights else None
    figures = list(newest.figures) if newest else []
    gated = [name for name in newest.gated if name in figures] if newest else []
    ordered = dict.fromkeys([*gated, *figures])
    lines = {figure: [night.figures.get(figure) for night in recent] for figure in figures}
    return _TEMPLATE.render(
        name=name,
        nights=nights,
        recent=len(recent),
        figures=[name for name in ordered if any(lines[name])][:FIGURES],
        lines=[(figure, sparkline(figure, values)) for figure, values in lines.items()],
    )


def _paid(night: Night, what: str) -> str:
    """A price of the night's account, if it has one."""
    amount, currency = night.economics.get(what), night.economics.get("currency")
    return money(amount, str(currency)) if isinstance(amount, int | float) and currency else "–"


_ENVIRONMENT = environment()
_ENVIRONMENT.filters["paid"] = _paid
_TEMPLATE = _ENVIRONMENT.get_template("index.html.jinja")
