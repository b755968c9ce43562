"""aigc schedule: what is to be submitted when, and what became of it."""

from __future__ import annotations

import click

from jobs.commands.schedule import foresight, keeping, making_up, past, running

COMMANDS: tuple[click.Command, ...] = (
    keeping.create,
    keeping.apply,
    keeping.list_,
    keeping.show,
    foresight.preview,
    keeping.pause,
    keeping.resume,
    keeping.trigger,
    making_up.backfill,
    past.history,
    keeping.delete,
    running.tick,
    running.serve,
    foresight.check,
)


@click.group()
def schedule() -> None:
    """Submit jobs when they are due, and account for every tick."""


for command in COMMANDS:
    schedule.add_command(command)
