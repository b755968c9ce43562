"""aigc doctor: what would stand in the way of jobs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from jobs.console import Output, as_json, message, output_option
from jobs.errors import FAILED
from jobs.invocation import Invocation, insecure_option

if TYPE_CHECKING:
    from cluster.doctor.contract import Area, Finding, Grade
    from cluster.resources import Resources

COLOURS: dict[Grade, str] = {"ok": "green", "warning": "yellow", "problem": "red"}
NAME_WIDTH, GRADE_WIDTH = 16, 7
NARROWEST = 60
"""A terminal that is narrower is written to as if it were not."""


@click.command()
@click.option("--on", "head", metavar="URL", help="Look at the cluster of this head, too.")
@insecure_option
@output_option
@click.pass_context
def doctor(context: click.Context, head: str | None, insecure: bool, output: Output) -> None:
    """Look for what would stand in the way of jobs on this machine, and change nothing.

    Versions, the workspace and its stores, MLflow, credentials, clocks, what waits, the machine,
    Ray, GPUs, what would run where, and with --on the head of a cluster. Each finding is ok, a
    warning or a problem, and says what to do next. Ends with 100 if there is a problem.
    """
    from cluster.doctor import CHECKS
    from cluster.doctor.contract import Installation
    from cluster.doctor.examination import examine
    from cluster.workspace import Workspace

    invocation: Invocation = context.obj
    asked = (head, insecure) if head is not None else None
    installation = Installation(Workspace.named(invocation.workspace), shipped, asked)
    areas = []
    for area in examine(installation, CHECKS):
        areas.append(area)
        if output == "table" and area.findings:
            click.echo("\n".join(as_lines(area, _width())))
    if output == "json":
        records = [{"area": area.name, **asdict(each)} for area in areas for each in area.findings]
        click.echo(as_json(records))
    grades = Counter(finding.grade for area in areas for finding in area.findings)
    message(_summary(grades))
    if grades["problem"]:
        context.exit(FAILED)


def shipped() -> dict[str, Resources]:
    """The resources of each training spec that is shipped, by its name."""
    from jobs.spec import load
    from jobs.specs import SPECS

    paths = sorted((SPECS / "training").glob("*.yaml"))
    return {path.stem: load(path).resources for path in paths}


def _summary(grades: Counter[Grade]) -> str:
    counted = [f"{grades['ok']} ok"]
    for grade, word in (("warning", "warning"), ("problem", "problem")):
        count = grades[grade]  # type: ignore[index]
        counted.append(f"{count or 'no'} {word}{'s' if count != 1 else ''}")
    return ", ".join(counted)


def as_lines(area: Area, width: int | None) -> list[str]:
    """An area under its name, folded to `width` columns, or not at all."""
    lines = [click.style(area.name, bold=True)]
    for finding in area.findings:
        lines += _lines(finding, width)
    return lines


def _width() -> int | None:
    """The columns of the terminal; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _lines(finding: Finding, width: int | None) -> list[str]:
    """Grade, name and what was found; below it what to do next."""
    grade = click.style(finding.grade.ljust(GRADE_WIDTH), fg=COLOURS[finding.grade])
    left = f"  {grade}  {finding.name.ljust(NAME_WIDTH)}  "
    indent = " " * (2 + GRADE_WIDTH + 2 + NAME_WIDTH + 2)
    first, *rest = _folded(finding.found, indent, width)
    if finding.advice:
        rest += _folded(f"→ {finding.advice}", indent, width)
    return [left + first, *(indent + line for line in rest)]


def _folded(text: str, indent: str, width: int | None) -> list[str]:
    plain = " ".join(text.split())
    if width is None:
        return [plain]
    room = max(width, NARROWEST) - len(indent)
    return textwrap.wrap(plain, room, break_on_hyphens=False) or [""]
