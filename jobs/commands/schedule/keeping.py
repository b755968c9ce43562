"""Schedules are made, shown, changed and deleted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.schedule.opening import kept, look, named, shown, summary
from jobs.console import Output, as_json, message, output_option, show_list, show_one
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.schedules import Entry
    from jobs.schedule.definition import Schedule

COLUMNS = ("name", "state", "cron", "zone", "next", "last")
CHANGE_COLUMNS = ("field", "before", "after")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--replace", is_flag=True, help="Change the schedule of that name, if there is one.")
@output_option
@click.pass_obj
def create(invocation: Invocation, file: Path, replace: bool, output: Output) -> None:
    """Keep the schedule in FILE; its ticks are those from now on.

    A changed schedule fires nothing old: what has come due and has not begun is recorded as missed
    or skipped.
    """
    from jobs.schedule.definition import load_schedule

    asked = load_schedule(file)
    entry = _keep(invocation, asked, replace)
    show_one(shown(entry), output)
    _say_next(entry)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and stop.")
@output_option
@click.pass_obj
def apply(invocation: Invocation, file: Path, yes: bool, dry_run: bool, output: Output) -> None:
    """Let the schedule in FILE be kept as it stands there: what that changes is shown first.

    A changed schedule fires nothing old, one that is the same stays as it is.
    """
    from jobs.schedule.definition import load_schedule
    from jobs.schedule.difference import changes

    asked = load_schedule(file)
    document = _document(invocation, asked.name)
    found = [vars(change) for change in changes(document, asked)]
    action = "create" if document is None else "edit" if found else "unchanged"
    if output == "json":
        click.echo(as_json({"schedule": asked.name, "action": action, "changes": found}))
    else:
        message(f"{asked.name}: {action}")
        show_list(found, CHANGE_COLUMNS, output, "Nothing changes")
    if dry_run or not found:
        return
    if not yes and sys.stdin.isatty():
        click.confirm("Apply it?", default=True, abort=True, err=True)
    _say_next(_keep(invocation, asked, replace=True))


def _document(invocation: Invocation, name: str) -> str | None:
    """The schedule of that name as it is kept, if there is one."""
    opened = look(invocation)
    entries = opened[0].all() if opened else []
    return next((entry.definition for entry in entries if entry.name == name), None)


def _keep(invocation: Invocation, asked: Schedule, replace: bool) -> Entry:
    """Keep a schedule; one that is there is changed if that is asked for. Raises ScheduleExists."""
    from cluster.errors import ScheduleExists
    from jobs.schedule.decisions import set_aside

    schedules, _ = kept(invocation.open())
    document, alone = asked.as_document(), asked.overlap != "allow"
    try:
        return schedules.create(asked.name, document, alone, asked.next_after)
    except ScheduleExists:
        if not replace:
            raise
    return schedules.change(
        asked.name, set_aside, definition=document, alone=alone, next_after=asked.next_after
    )


def _say_next(entry: Entry) -> None:
    if entry.next_due is None:
        message(f"{entry.name} is never due any more: see its cron and its end")
    message(f"next  aigc schedule preview {entry.name}")
    message("next  aigc schedule serve")


@click.command("list")
@output_option
@click.pass_obj
def list_(invocation: Invocation, output: Output) -> None:
    """List the schedules, when each is due next, and how its last tick ended."""
    found = list[dict[str, object]]()
    if (opened := look(invocation)) is not None:
        schedules, ticks = opened
        for entry in schedules.all():
            last = ticks.history(entry.name, 1)
            how = f"{last[0].due.isoformat()} {last[0].state}" if last else None
            found.append({**summary(entry), "last": how})
    show_list(found, COLUMNS, output, "No schedules yet. Make one with: aigc schedule create FILE")


@click.command()
@click.argument("name")
@output_option
@click.pass_obj
def show(invocation: Invocation, name: str, output: Output) -> None:
    """Show a schedule: how it stands, and its file with every default filled in."""
    from jobs.source import parse

    schedules, _ = named(invocation, name)
    entry = schedules.find(name)
    if output == "json":
        definition = parse(entry.definition.encode(), entry.name).data
        show_one({**shown(entry), "definition": definition}, output)
    else:
        show_one(shown(entry), output)
        click.echo(f"\n{entry.definition}", nl=False)


@click.command()
@click.argument("name")
@output_option
@click.pass_obj
def pause(invocation: Invocation, name: str, output: Output) -> None:
    """Let a schedule start nothing; its ticks are recorded as skipped. What is at work goes on."""
    _set_paused(invocation, name, True, output)


@click.command()
@click.argument("name")
@output_option
@click.pass_obj
def resume(invocation: Invocation, name: str, output: Output) -> None:
    """Let a schedule start ticks again: those from now on, and none of those before."""
    _set_paused(invocation, name, False, output)


@click.command()
@click.argument("name")
@output_option
@click.pass_obj
def trigger(invocation: Invocation, name: str, output: Output) -> None:
    """Add a tick that is due now, also to a schedule that is paused."""
    from cluster.ledger import whoever_asks
    from jobs.schedule.definition import duration, timing_of

    schedules, _ = named(invocation, name)
    deadline = duration(timing_of(schedules.find(name)).deadline)
    due = schedules.trigger(name, deadline, f"triggered by {whoever_asks()}")
    show_one({"schedule": name, "due": due}, output)


@click.command()
@click.argument("name")
@click.pass_obj
def delete(invocation: Invocation, name: str) -> None:
    """Forget a schedule. What is at work goes on, and the history stays."""
    from jobs.schedule.decisions import set_aside

    schedules, _ = named(invocation, name)
    schedules.remove(name, set_aside)
    message(f"{name} is deleted; see: aigc schedule history {name}")


def _set_paused(invocation: Invocation, name: str, paused: bool, output: Output) -> None:
    from jobs.schedule.decisions import set_aside

    schedules, _ = named(invocation, name)
    show_one(shown(schedules.change(name, set_aside, paused=paused)), output)
