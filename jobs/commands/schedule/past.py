"""What became of the ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import look, named
from jobs.console import Output, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.ticks import Tick

HISTORY_COLUMNS = ("due", "state", "count", "attempt", "submission", "reason")
"""What fits on a line, up to the reason; JSON has more."""


@click.command()
@click.argument("name", required=False)
@click.option(
    "-n", "count", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many."
)
@output_option
@click.pass_obj
def history(invocation: Invocation, name: str | None, count: int, output: Output) -> None:
    """List what became of the ticks of NAME, or of all schedules, the newest first.

    Also of a schedule that was deleted. A line with a count stands for so many ticks; -o json also
    says when each began and ended, and who looked after it.
    """
    opened = look(invocation)
    found = opened[1].history(name, count) if opened else []
    if name is not None and not found:
        named(invocation, name)
    rows = [_recorded(tick) for tick in found]
    columns = HISTORY_COLUMNS if name else ("schedule", *HISTORY_COLUMNS)
    show_list(rows, columns, output, "No tick was due yet")


def _recorded(tick: Tick) -> dict[str, object]:
    more = ("started", "ended", "schedule", "through", "owner", "backfill")
    names = (*HISTORY_COLUMNS[:-1], *more, "reason")
    return {name: getattr(tick, name) for name in names}
