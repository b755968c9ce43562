"""aigc schedule: what is to be submitted when, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from jobs.console import Output, message, output_option, show_list, show_one
from jobs.invocation import Invocation, insecure_option, where_option

if TYPE_CHECKING:
    import threading

    from cluster.schedules import Entry, Schedules
    from cluster.ticks import Tick, Ticks
    from cluster.workspace import Workspace
    from jobs.schedule.definition import Timing

COLUMNS = ("name", "state", "cron", "zone", "next", "last")
PREVIEW_COLUMNS = ("local", "utc", "note")
HISTORY_COLUMNS = ("due", "state", "count", "attempt", "submission", "started", "ended", "reason")
FINDING_COLUMNS = ("schedule", "due", "what", "reason")
F = TypeVar("F", bound=Callable[..., object])


@click.group()
def schedule() -> None:
    """Submit jobs when they are due, and account for every tick."""


@schedule.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--replace", is_flag=True, help="Change the schedule of that name, if there is one.")
@output_option
@click.pass_obj
def create(invocation: Invocation, file: Path, replace: bool, output: Output) -> None:
    """Keep the schedule in FILE; its ticks are those from now on.

    A changed schedule fires nothing old: what has come due and has not begun is recorded as missed
    or skipped.
    """
    from cluster.errors import ScheduleExists
    from jobs.schedule.decisions import set_aside
    from jobs.schedule.definition import load_schedule

    asked = load_schedule(file)
    schedules, _ = _kept(invocation.open())
    document, alone = asked.as_document(), asked.overlap != "allow"
    try:
        entry = schedules.create(asked.name, document, alone, asked.next_after)
    except ScheduleExists:
        if not replace:
            raise
        entry = schedules.change(
            asked.name, set_aside, definition=document, alone=alone, next_after=asked.next_after
        )
    show_one(_shown(entry), output)
    message(f"next  aigc schedule preview {asked.name}")
    message("next  aigc schedule serve")


@schedule.command("list")
@output_option
@click.pass_obj
def list_(invocation: Invocation, output: Output) -> None:
    """List the schedules, when each is due next, and how its last tick ended."""
    found = list[dict[str, object]]()
    if (opened := _look(invocation)) is not None:
        schedules, ticks = opened
        for entry in schedules.all():
            last = ticks.history(entry.name, 1)
            how = f"{last[0].due.isoformat()} {last[0].state}" if last else None
            found.append({**_summary(entry), "last": how})
    show_list(found, COLUMNS, output, "No schedules yet. Make one with: aigc schedule create FILE")


@schedule.command()
@click.argument("name")
@output_option
@click.pass_obj
def show(invocation: Invocation, name: str, output: Output) -> None:
    """Show a schedule: how it stands, and its file with every default filled in."""
    from jobs.source import parse

    schedules, _ = _named(invocation, name)
    entry = schedules.find(name)
    if output == "json":
        definition = parse(entry.definition.encode(), entry.name).data
        show_one({**_shown(entry), "definition": definition}, output)
    else:
        show_one(_shown(entry), output)
        click.echo(f"\n{entry.definition}", nl=False)


@schedule.command()
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
        schedules, _ = _named(invocation, name)
        timing, now = timing_of(schedules.find(name)), schedules.now()
    ticks = [vars(each) for each in expected(timing, now, count)]
    show_list(ticks, PREVIEW_COLUMNS, output, "It is not due any more")


@schedule.command()
@click.argument("name")
@output_option
@click.pass_obj
def pause(invocation: Invocation, name: str, output: Output) -> None:
    """Let a schedule start nothing; its ticks are recorded as skipped. What is at work goes on."""
    _set_paused(invocation, name, True, output)


@schedule.command()
@click.argument("name")
@output_option
@click.pass_obj
def resume(invocation: Invocation, name: str, output: Output) -> None:
    """Let a schedule start ticks again: those from now on, and none of those before."""
    _set_paused(invocation, name, False, output)


@schedule.command()
@click.argument("name")
@output_option
@click.pass_obj
def trigger(invocation: Invocation, name: str, output: Output) -> None:
    """Add a tick that is due now, also to a schedule that is paused."""
    from cluster.ledger import whoever_asks
    from jobs.schedule.definition import duration, timing_of

    schedules, _ = _named(invocation, name)
    deadline = duration(timing_of(schedules.find(name)).deadline)
    due = schedules.trigger(name, deadline, f"triggered by {whoever_asks()}")
    show_one({"schedule": name, "due": due}, output)


@schedule.command()
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
    opened = _look(invocation)
    found = opened[1].history(name, count) if opened else []
    rows = [_recorded(tick) for tick in found]
    columns = HISTORY_COLUMNS if name else ("schedule", *HISTORY_COLUMNS)
    show_list(rows, columns, output, "No tick was due yet")


@schedule.command()
@click.argument("name")
@click.pass_obj
def delete(invocation: Invocation, name: str) -> None:
    """Forget a schedule. What is at work goes on, and the history stays."""
    from jobs.schedule.decisions import set_aside

    schedules, _ = _named(invocation, name)
    schedules.remove(name, set_aside)
    message(f"{name} is deleted; see: aigc schedule history {name}")


def engine_options(command: F) -> F:
    """Where an engine runs its jobs, and how many at a time."""
    at_most = click.option(
        "--at-most",
        type=click.IntRange(1, 1000),
        default=4,
        show_default=True,
        metavar="N",
        help="Jobs that this engine has at work at a time.",
    )
    return where_option(insecure_option(at_most(command)))


@schedule.command()
@engine_options
@click.pass_context
def tick(context: click.Context, place: str, insecure: bool, at_most: int) -> None:
    """Do one pass: start what is due, and look after it to its end. For cron or a CronJob.

    Any number of these, and of `serve`, may run at once.
    """
    from jobs.errors import FAILED

    if _run(context.obj, place, insecure, at_most, forever=False):
        context.exit(FAILED)


@schedule.command()
@engine_options
@click.pass_obj
def serve(invocation: Invocation, place: str, insecure: bool, at_most: int) -> None:
    """Start what is due, until SIGTERM or Ctrl-C. Jobs that are at work then go on."""
    _run(invocation, place, insecure, at_most, forever=True)


@schedule.command()
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
    if (opened := _look(invocation)) is not None:
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


def _run(invocation: Invocation, place: str, insecure: bool, at_most: int, forever: bool) -> int:
    """Run an engine until SIGTERM or Ctrl-C; returns how many ticks have failed."""
    import threading

    from jobs.schedule.engine import Engine
    from jobs.schedule.submitting import Submitting

    workspace, halt = invocation.open(), threading.Event()
    schedules, ticks = _kept(workspace)
    engine = Engine(schedules, ticks, Submitting(workspace, place, insecure), message, at_most)
    with _told_to(halt):
        engine.run(halt, forever)
    return engine.failed


@contextmanager
def _told_to(halt: threading.Event) -> Iterator[None]:
    """While the block runs, SIGTERM and Ctrl-C only set `halt`."""
    import signal

    numbers = signal.SIGTERM, signal.SIGINT
    before = [signal.signal(number, lambda *_: halt.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _set_paused(invocation: Invocation, name: str, paused: bool, output: Output) -> None:
    from jobs.schedule.decisions import set_aside

    schedules, _ = _named(invocation, name)
    show_one(_shown(schedules.change(name, set_aside, paused=paused)), output)


def _kept(workspace: Workspace) -> tuple[Schedules, Ticks]:
    from cluster.schedules import Schedules
    from cluster.store import Store
    from cluster.ticks import Ticks

    store, name = Store.of(workspace), str(workspace.root)
    return Schedules(store, name), Ticks(store, name)


def _look(invocation: Invocation) -> tuple[Schedules, Ticks] | None:
    """The schedules, without making a store where there is none."""
    workspace = invocation.look()
    return _kept(workspace) if workspace.has_store else None


def _named(invocation: Invocation, name: str) -> tuple[Schedules, Ticks]:
    """The schedules, of which `name` must be one. Raises ScheduleNotFound."""
    from cluster.errors import ScheduleNotFound

    if (opened := _look(invocation)) is None:
        raise ScheduleNotFound(
            f"there is no schedule {name!r}", "Make one with: aigc schedule create FILE"
        )
    opened[0].find(name)
    return opened


def _summary(entry: Entry) -> dict[str, object]:
    from jobs.errors import SpecInvalid
    from jobs.schedule.definition import timing_of
    from jobs.schedule.zones import zone

    try:
        timing = timing_of(entry)
    except SpecInvalid as error:
        return {"name": entry.name, "state": "invalid", "reason": str(error)}
    state = "paused" if entry.paused else "active" if entry.next_due else "over"
    following: datetime | None = entry.next_due and entry.next_due.astimezone(zone(timing.zone))
    return {
        "name": entry.name,
        "state": state,
        "cron": timing.cron,
        "zone": timing.zone,
        "next": None if entry.paused else following,
    }


def _shown(entry: Entry) -> dict[str, object]:
    return {**_summary(entry), "created": entry.created, "accounted_until": entry.cursor}


def _recorded(tick: Tick) -> dict[str, object]:
    names = (*HISTORY_COLUMNS, "schedule", "through", "owner")
    return {name: getattr(tick, name) for name in names}
