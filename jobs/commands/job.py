"""aigc job: what became of submissions, and what is to become of them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cluster.states import STATES, State
from jobs.commands.following import (
    follow,
    going_on,
    leave,
    looks,
    present_of,
    settled,
    to_cancel,
)
from jobs.commands.submit import Asked, run_source, running_options
from jobs.console import Output, message, output_option, show_list, show_one
from jobs.errors import NOT_FINISHED
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.submissions import Details, Summary
    from cluster.workspace import RunFolder

COLUMNS = ("id", "kind", "state", "progress", "started", "ended")
"""Without the name, with which the id begins."""
GRACE_SECONDS = 60.0
LEAVINGS = {
    "gone": "its process died without a word",
    "forced": "its process did not leave, and was ended by force",
    "too late": "it ended before it heard of it",
}
"""What is said of how a submission has left, but for the way that it was asked to."""


@click.group()
def job() -> None:
    """List and follow submissions, cancel them, and run them again.

    The beginning of an id is enough where no other begins so.
    """


@job.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@output_option
@click.pass_obj
def list_(invocation: Invocation, state: State | None, limit: int | None, output: Output) -> None:
    """List the submissions of the workspace, the newest first.

    RUNNING has a process, PENDING is about to have one, QUEUED waits in line. SUCCEEDED, FAILED,
    CANCELLED, STOPPED (by a signal) and INTERRUPTED (gone without a word) have none any more.
    """
    from cluster.submissions import summaries

    workspace = invocation.look()
    found = summaries(workspace)
    if settled(workspace, [each.id for each in found if each.state == "PENDING"]):
        found = summaries(workspace)
    chosen = [each for each in found if state in (None, each.state)]
    records = [_listed(each, output) for each in chosen[:limit]]
    show_list(records, COLUMNS, output, "No submissions yet. Make one with: aigc submit SPEC")


@job.command()
@click.argument("submission", metavar="ID")
@output_option
@click.pass_obj
def status(invocation: Invocation, submission: str, output: Output) -> None:
    """Show a submission: its state and why, how far it is, its last figures, its files."""
    from cluster.submissions import details, find

    workspace = invocation.look()
    run = find(workspace, submission)
    found = details(run, workspace)
    show_one(_shown(replace(found, standing=present_of(run)), run), output)


@job.command()
@click.argument("submission", metavar="ID")
@click.option(
    "-f", "--follow", "on", is_flag=True, help="Until it has ended; then with its exit code."
)
@click.option("--rank", type=click.IntRange(min=0), metavar="N", help="That worker's log.")
@click.option("--all", "everyone", is_flag=True, help="All logs in one, by their times.")
@click.pass_context
def logs(
    context: click.Context, submission: str, on: bool, rank: int | None, everyone: bool
) -> None:
    """Print what a submission has said in all its attempts: the driver, or who is asked for."""
    from cluster.log_reader import LogReader
    from cluster.submissions import find

    if rank is not None and everyone:
        raise click.UsageError("--rank and --all exclude each other")
    run = find(context.obj.look(), submission)
    who = None if everyone else "driver" if rank is None else f"worker-{rank}"
    reader = LogReader(run.logs, who)
    if not on:
        reader.require()
        for text in reader.new():
            click.echo(text, nl=False)
        return
    leave(context, run, follow(run, reader, is_data=True))


@job.command()
@click.argument("submission", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="At most.")
@click.pass_context
def wait(context: click.Context, submission: str, timeout: float | None) -> None:
    """Wait until a submission has ended, and end with its exit code; with 101 at the timeout."""
    from cluster.submissions import find

    run = find(context.obj.look(), submission)
    last = time.monotonic() + (float("inf") if timeout is None else timeout)
    with going_on(run, to_cancel(run)):
        for present in looks(run):
            if present.has_ended:
                leave(context, run, present)
            if time.monotonic() >= last:
                message(f"{run.submission} has not ended after {timeout:g} s: {present.reason}")
                context.exit(NOT_FINISHED)


@job.command()
@click.argument("submission", metavar="ID")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=GRACE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take to leave; it is ended by force then.",
)
@click.pass_obj
def cancel(invocation: Invocation, submission: str, grace: float) -> None:
    """Ask a submission to end; a training saves its state first, from which a rerun goes on."""
    from cluster.cancellation import ask, close_record, see_off
    from cluster.submissions import find, standing

    workspace = invocation.look()
    run = find(workspace, submission)
    with going_on(run, to_cancel(run)):
        holder = ask(run)
    with going_on(
        run,
        f"nobody ends it by force now; to wait for it: {run.command} job wait {run.submission}",
    ):
        message(f"{run.submission} is asked to end, and has {grace:g} s for it")
        how = see_off(run, holder, grace)
        if how in LEAVINGS:
            message(LEAVINGS[how])
        if how in ("gone", "forced") and (reason := close_record(workspace, run)):
            message(f"{reason}; MLflow hears of it by: {run.command} track sync {run.submission}")
    present = standing(run)
    message(f"{run.submission}: {present.state}, {present.reason}")


@job.command()
@click.argument("submission", metavar="ID")
@running_options
@click.pass_obj
def rerun(
    invocation: Invocation,
    submission: str,
    settings: tuple[str, ...],
    asked: Asked,
) -> None:
    """Submit the spec of a submission again: it goes on from where it was.

    With --set, or when the code is another one by now, it is a new submission, whose run says in
    the tag aigc.rerun_of what it was made from.
    """
    from cluster.submissions import find
    from jobs.spec import source_of

    run = find(invocation.look(), submission)
    source = source_of(run.spec, settings)
    run_source(invocation, source, replace(asked, rerun_of=run.submission))


def _listed(summary: Summary, output: Output) -> dict[str, object]:
    record: dict[str, object] = {
        "id": summary.id,
        "kind": summary.kind,
        "name": summary.name,
        "state": summary.state,
    }
    if output == "json":
        record |= {"step": summary.step, "steps": summary.steps}
    else:
        record["progress"] = _progress(summary)
    return record | {
        "started": _moment(summary.started),
        "ended": _moment(summary.ended) or _age(summary, output),
    }


def _progress(summary: Summary) -> str | None:
    if summary.step is None:
        return None
    return f"{summary.step}/{summary.steps}" if summary.steps else str(summary.step)


def _age(summary: Summary, output: Output) -> str | None:
    """In a table, for how long it has been there, where it has not ended."""
    if output == "json" or summary.started is None or summary.state == "INTERRUPTED":
        return None
    return f"since {_duration(time.time() - summary.started / 1000)}"


def _shown(details: Details, run: RunFolder) -> dict[str, object]:
    """The fields of `job status`."""
    summary, present, checkpoint = details.summary, details.standing, details.checkpoint
    speed = details.figures.get("time/records_per_second")
    return {
        "id": summary.id,
        "kind": summary.kind,
        "name": summary.name,
        "state": present.state,
        "reason": present.reason,
        "step": summary.step,
        "steps": summary.steps,
        "started": _moment(summary.started),
        "ended": _moment(summary.ended),
        "attempts": details.attempts,
        "eta_seconds": details.seconds_left,
        "records_per_second": None if present.has_ended else speed,
        "checkpoint": checkpoint and _checkpoint(*checkpoint),
        "figures": details.figures,
        "trials": details.trials,
        "trial_of": details.search,
        "rerun_of": details.rerun_of,
        "run_id": details.run_id,
        "link": details.link,
        "spec": str(run.spec),
        "logs": str(run.logs),
    }


def _checkpoint(step: int, written: int) -> dict[str, object]:
    return {"step": step, "age_seconds": round(max(0.0, time.time() - written / 1000), 1)}


def _moment(milliseconds: int | None) -> datetime | None:
    with suppress(OverflowError, ValueError, OSError):  # a damaged record has any number
        if milliseconds is not None:
            return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
    return None


def _duration(seconds: float) -> str:
    """As short as it can be said: 40 s, 12 min, 3 h, 5 days."""
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"
