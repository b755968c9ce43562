"""report.html for people and report.json for programs, of the same plain data.

The page is one file that needs nothing else: pictures are embedded, it runs no script, and its
content security policy forbids whatever is neither its own style nor an embedded picture.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aigc.data.files import digest_of, write_json, write_text
from aigc.errors import MetricUnknown
from aigc.metrics import METRICS, parse
from jobs.report.content import Report, Sheet
from jobs.report.history import JSON

HTML = "report.html"
SHEET_BYTES = 7 * 2**20
"""Of pictures on the page; base64 makes them a third larger, which keeps the page below 10 MB."""

_GENERATION = {
    "blank": "share of samples that hold one value throughout; lower is better",
    "duplicate": "share of samples that equal another sample; lower is better",
}


def write_report(folder: Path, report: Report) -> None:
    """Write report.html and report.json into `folder`, each whole or not at all.

    Raises WorkspaceUnwritable.
    """
    write_text(folder / HTML, as_page(report))
    write_json(folder / JSON, report.as_dict())


def as_page(report: Report) -> str:
    """The report as one HTML file that refers to nothing outside itself."""
    gates = report.verdict["results"]
    gated = {gate["metric"] for gate in gates}
    return _TEMPLATE.render(
        report=report,
        why=_why(report),
        gates=gates,
        others={name: value for name, value in report.figures.items() if name not in gated},
        plan_digest=digest_of(report.plan),
        sheets=_within_budget(report.sheets),
        slowest=max(report.seconds.values(), default=0.0),
    )


def _why(report: Report) -> str:
    """The verdict in one sentence."""
    gates = report.verdict["results"]
    failed = [gate["reason"] for gate in gates if not gate["passed"]]
    if failed:
        said = f"{len(failed)} of {_counted(len(gates), 'gate')} failed: {'; '.join(failed)}"
    elif gates:
        said = "The only gate passed" if len(gates) == 1 else f"All {len(gates)} gates passed"
    else:
        said = "There were no gates to pass"
    if report.published == report.verdict["passed"]:
        return f"{said}."
    return f"{said}, and yet it was {'' if report.published else 'not '}published."


def _within_budget(sheets: Sequence[Sheet]) -> list[tuple[Sheet, bool]]:
    """Each sheet, and whether its picture still fits on the page."""
    totals = itertools.accumulate(len(sheet.png) for sheet in sheets)
    return [(sheet, total <= SHEET_BYTES) for sheet, total in zip(sheets, totals, strict=True)]


def _says(name: str) -> str:
    """What the figure of that name says; nothing for a name that nobody described."""
    if name in _GENERATION:
        return _GENERATION[name]
    try:
        metric = METRICS[parse(name).metric]
    except MetricUnknown:
        return ""
    return f"{metric.description}; {metric.better} is better"


def _number(value: float | None) -> Markup:
    """Four significant digits, the exact value on hovering."""
    if value is None or not math.isfinite(value):
        return Markup('<span class="muted">no figure</span>')
    short = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return Markup('<span class="number" title="{}">{}</span>').format(
        repr(value), short.replace("-", "−")
    )


def _digest(value: str | None) -> Markup:
    """The first twelve digits, the others on hovering."""
    if not value:
        return Markup('<span class="muted">not recorded</span>')
    return Markup('<code title="{}">{}</code>').format(value, value[:12])


def _size(count: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    power = min(3, int(math.log(count, 1000))) if count > 0 else 0
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"


def _duration(seconds: float) -> str:
    """Seconds, or the two largest units."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _embedded(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "digest": _digest,
        "says": _says,
        "size": _size,
        "duration": _duration,
        "counted": _counted,
        "embedded": _embedded,
    }
    return environment


_TEMPLATE = _environment().get_template("page.html.jinja")
