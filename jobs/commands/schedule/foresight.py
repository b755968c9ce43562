"""What is still to come, and what nobody accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import look, named
from jobs.console import Output, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from jobs.schedule.definition import Timing

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

    Days on which clocks change are marked.
    """
    from datetime import UTC, datetime

    from jobs.schedule.definition import load_schedule, timing_of
    from jobs.schedule.preview import preview as expected

    timing: Timing
    if name.endswith((".yaml", ".yml")):
        timing, now = load_schedule(name), datetime.now(UTC)
    else:
        schedules, _ = named(invocation, name)
        timing, now = timing_of(schedules.find(name)), schedules.now()
    ticks = [vars(each) for each in expected(timing, now, count)]
    show_list(ticks, PREVIEW_COLUMNS, output, "It is not due any more")


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
