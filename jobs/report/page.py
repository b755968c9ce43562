"""report.html for people and report.json for programs, of the same plain data.

The page is one file that needs nothing else: pictures are embedded, it runs no script, and its
content security policy forbids whatever is neither its own style nor an embedded picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aigc.data.files import digest_of, write_json, write_text
from jobs.economics import compare
from jobs.report.answers import answer, why, worth
from jobs.report.comparison import gate_rows, other_rows, series
from jobs.report.content import Passage, Picture, Report, Sheet, plain
from jobs.report.history import JSON, WEEK
from jobs.report.sparkline import sparkline
from jobs.report.words import FILTERS

HTML = "report.html"
SHEET_BYTES = 7 * 2**20
"""Of pictures on the page; base64 makes them a third larger, which keeps the page below 10 MB."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.html and report.json into `folder`, each whole or not at all.

    Raises WorkspaceUnwritable.
    """
    write_text(folder / HTML, as_page(report))
    rows = {"gates": plain([row.as_dict() for row in gate_rows(report)])}
    write_json(folder / JSON, report.as_dict() | rows)


def as_page(report: Report) -> str:
    """The report as one HTML file that refers to nothing outside itself."""
    economics, week = report.economics, report.nights[-WEEK:]
    past = [night.economics for night in week], [n.economics for n in week if n.published]
    return _TEMPLATE.render(
        report=report,
        answer=answer(report),
        why=why(report),
        worth=worth(economics) if economics else "",
        changes=compare(economics, *past) if economics else [],
        gates=gate_rows(report),
        others=other_rows(report),
        lines=_lines(report),
        plan_digest=digest_of(report.plan),
        groups=_grouped(report.sheets),
        fitting=_fitting(report),
        passages=[(passage, list(_pieces(passage))) for passage in report.passages],
        slowest=max(report.seconds.values(), default=0.0),
    )


def _lines(report: Report) -> list[tuple[str, str]]:
    """The name and the drawing of each figure that has a past."""
    finite = {
        name: [v if v is not None and math.isfinite(v) else None for v in values]
        for name, values in series(report).items()
    }
    return [
        (name, sparkline(name, values))
        for name, values in finite.items()
        if any(value is not None for value in values[:-1])
    ]


def _grouped(sheets: Sequence[Sheet]) -> list[tuple[str, list[Sheet]]]:
    """The sheets by their group, in the order in which groups appear."""
    groups = dict.fromkeys(sheet.group for sheet in sheets)
    return [(group, [sheet for sheet in sheets if sheet.group == group]) for group in groups]


def _fitting(report: Report) -> set[int]:
    """The pictures, by identity, that still fit on the page, sheets first."""
    pairs = report.copying.pairs if report.copying else ()
    shown = [*report.sheets, *(part for pair in pairs for part in (pair.shown, pair.nearest))]
    shown += [each.shown for each in report.rejected]
    pictures = [each for each in shown if isinstance(each, Picture | Sheet)]
    totals = itertools.accumulate(len(picture.png) for picture in pictures)
    whole = zip(pictures, totals, strict=True)
    return {id(picture) for picture, total in whole if total <= SHEET_BYTES}


def _pieces(passage: Passage) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is copied."""
    done = 0
    for start, stop in passage.copied:
        yield passage.text[done:start], False
        yield passage.text[start:stop], True
        done = stop
    yield passage.text[done:], False


def environment() -> Environment:
    """Where the templates of the reports are rendered: all that is inserted is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS
    made.filters["identity"] = id
    return made


_TEMPLATE = environment().get_template("page.html.jinja")
