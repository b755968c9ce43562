"""What is still to come, and what nobody accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import look, named
from jobs.console import Output, message, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from jobs.schedule.preview import Expected

PREVIEW_COLUMNS = ("local", "utc", "note")
FINDING_COLUMNS = ("schedule", "due", "what", "reason")


@click.command()
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many."
)
@output_option
@click.pass_obj
def preview(invocation: Invocation, name: str, count: int, output: Output) -> None:
    """List the next ticks of a schedule or of a file, by its clocks and in UTC.

    Marked are days on which clocks change, ticks that are likely at work when the next one is due,
    by how long the last ones took, and those that are overdue and would start at once. Of a
    schedule that is paused, what would start if it was resumed now.
    """
    from datetime import UTC, datetime

    from jobs.schedule.definition import load_schedule
    from jobs.schedule.preview import preview as expected

    if name.endswith((".yaml", ".yml")):
        ticks = expected(load_schedule(name), datetime.now(UTC), count)
    else:
        ticks = _of_kept(invocation, name, count)
    rows = [vars(each) for each in ticks]
    show_list(rows, PREVIEW_COLUMNS, output, "It is not due any more")


def _of_kept(invocation: Invocation, name: str, count: int) -> list[Expected]:
    """The next ticks of a schedule that is kept."""
    from jobs.schedule.definition import timing_of
    from jobs.schedule.preview import PAST, lengths, outstanding
    from jobs.schedule.preview import preview as expected

    schedules, ticks = named(invocation, name)
    entry, now = schedules.find(name), schedules.now()
    live = [each.due for each in ticks.live() if each.schedule == name]
    would = outstanding(entry, live, now)
    if entry.paused:
        message(f"{name} is paused: these start if it is resumed now")
    if would.left_out:
        message(f"{would.left_out} that were due before would not start any more")
    past = lengths(ticks.history(name, PAST, "ran"))
    return expected(timing_of(entry), now, count, past, would.starts)


@click.command()
@click.option(
    "--within",
    metavar="DURATION",
    default="1d",
    show_default=True,
    help="Ticks that were missed so long ago, as 90m or 2d, still count.",
)
@output_option
@click.pass_obj
def check(invocation: Invocation, within: str, output: Output) -> None:
    """List ticks that nobody accounts for, that are late, or that were missed; needs no engine.

    Ends with 106 if there are any.
    """
    from cluster.errors import TicksMissed
    from jobs.schedule.accounting import findings
    from jobs.schedule.definition import duration

    try:
        length = duration(within)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--within") from error
    found = list[dict[str, object]]()
    if (opened := look(invocation)) is not None:
        schedules, ticks = opened
        now = schedules.now()
        recorded = [*ticks.live(), *ticks.ended_since(now - length)]
        found = [vars(each) for each in findings(schedules.all(), recorded, now, length)]
    show_list(found, FINDING_COLUMNS, output, "Every tick is accounted for")
    if found:
        names = ", ".join(sorted({str(each["schedule"]) for each in found}))
        raise TicksMissed(
            f"not every tick of {names} is accounted for", "See: aigc schedule history"
        )
