"""What became of the ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import look
from jobs.console import Output, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.ticks import Tick

HISTORY_COLUMNS = ("due", "state", "count", "attempt", "submission", "started", "ended", "reason")


@click.command()
@click.argument("name", required=False)
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many."
)
@output_option
@click.pass_obj
def history(invocation: Invocation, name: str | None, count: int, output: Output) -> None:
    """List what became of the ticks of NAME, or of all schedules, the newest first.

    Also of a schedule that was deleted. A line with a count stands for so many ticks.
    """
    opened = look(invocation)
    found = opened[1].history(name, count) if opened else []
    rows = [_recorded(tick) for tick in found]
    columns = HISTORY_COLUMNS if name else ("schedule", *HISTORY_COLUMNS)
    show_list(rows, columns, output, "No tick was due yet")


def _recorded(tick: Tick) -> dict[str, object]:
    names = (*HISTORY_COLUMNS, "schedule", "through", "owner", "backfill")
    return {name: getattr(tick, name) for name in names}
