"""Ticks of the past are made up for."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import named
from jobs.console import Output, message, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from jobs.schedule.backfill import Reprocess
    from jobs.schedule.definition import Timing

BACKFILL_COLUMNS = ("local", "utc")


@click.command()
@click.argument("name")
@click.option("--from", "since", required=True, metavar="TIME", help="A date, or a time.")
@click.option(
    "--to",
    "until",
    required=True,
    metavar="TIME",
    help="A date, with all of its ticks, or a time. By the clocks of the schedule, like --from.",
)
@click.option(
    "--reprocess",
    type=click.Choice(["none", "failed", "all"]),
    default="none",
    show_default=True,
    help="Besides ticks that never began: those that failed or were replaced, or all.",
)
@click.option(
    "--max-active",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="Of them at work at a time; the schedule's overlap holds all the same.",
)
@click.option("--reverse", is_flag=True, help="The newest first.")
@click.option("--dry-run", is_flag=True, help="List them, and stop.")
@output_option
@click.pass_obj
def backfill(
    invocation: Invocation,
    name: str,
    since: str,
    until: str,
    reprocess: Reprocess,
    max_active: int,
    reverse: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Let the ticks of a time that is over run now. What runs later than it was due is recorded as
    backfilled, once; `schedule serve` or `tick` runs it.
    """
    from cluster.backfill import Backfills
    from cluster.ledger import whoever_asks
    from cluster.store import Store
    from jobs.schedule.backfill import TooMany, chosen
    from jobs.schedule.definition import timing_of
    from jobs.schedule.zones import zone

    schedules, _ = named(invocation, name)
    timing = timing_of(schedules.find(name))
    first, last = _bound("--from", since, timing, False), _bound("--to", until, timing, True)
    if last < first:
        raise click.BadParameter(f"must not be before --from, {since}", param_hint="--to")
    workspace = invocation.open()
    backfills = Backfills(Store.of(workspace), str(workspace.root))
    choose = partial(chosen, since=first, until=last, reprocess=reprocess, reverse=reverse)
    try:
        if dry_run:
            _, found = backfills.look(name, first, last, choose)
        else:
            why = f"asked for by {whoever_asks()}"
            found = backfills.ask(name, first, last, choose, max_active, why)
    except TooMany as error:
        raise click.BadParameter(str(error), param_hint="--to") from error
    ticks = [{"local": each.astimezone(zone(timing.zone)), "utc": each} for each in found.ticks]
    show_list(ticks, BACKFILL_COLUMNS, output, "There is nothing to make up for")
    if ticks and not dry_run:
        message(f"{len(ticks)} wait for an engine: aigc schedule serve, or tick")


def _bound(option: str, text: str, timing: Timing, last: bool) -> datetime:
    from jobs.schedule.backfill import bound

    try:
        return bound(text, timing, last)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
