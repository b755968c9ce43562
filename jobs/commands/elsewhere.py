"""aigc submit --on https://HEAD:8265: plan here, hand over, and follow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from jobs.commands.following import follow, going_on, leave, present_of, take_over, to_cancel
from jobs.commands.plan import again, next_commands, show_plan
from jobs.console import Output, as_json, message, show_one

if TYPE_CHECKING:
    from cluster.head import Head
    from cluster.log_reader import LogReader
    from jobs.commands.submit import Asked
    from jobs.handover import Handing
    from jobs.invocation import Invocation
    from jobs.session import Planning
    from jobs.source import Source
    from jobs.submission import Submission


def run_elsewhere(invocation: Invocation, source: Source, asked: Asked) -> None:
    """Plan what the source asks for on the cluster of a head, ask, hand it over, and follow it.

    A dry run prints the request as it would be sent.
    """
    from cluster.head import Head, Room
    from cluster.log_reader import LogReader
    from jobs.handover import handing, staying
    from jobs.progress import Reporter
    from jobs.schedule.once import prepare_for
    from jobs.session import open_planning
    from jobs.spec import check

    spec = check(source)
    head = Head.at(asked.place, asked.insecure)
    head.require()
    planning = open_planning(invocation.open(), Room(head), Reporter())
    submission = again(prepare_for(asked.tick, spec, planning, source), asked.rerun_of)
    show_plan(submission, planning)
    for name in staying():
        message(f"{name} holds a password and is not sent: set it on the cluster's nodes")
    handed = handing(submission, planning, head, asked.priority)
    if asked.dry_run:
        click.echo(as_json(handed.request.as_dict()))
        return
    if not asked.yes and sys.stdin.isatty():
        click.confirm("Hand it over?", default=True, abort=True, err=True)
    if asked.tick is not None and asked.attempt is not None:
        take_over(click.get_current_context(), submission.run, asked.tick, asked.attempt)
    if (done := submission.outcome(planning)) is None:
        # A worker tells how far it is. What earlier attempts have said is skipped.
        reader = LogReader(submission.run.logs, None)
        reader.new()
        _hand_over(head, handed, submission)
        if asked.detach:
            show_one({"submission": submission.id, "head": head.address}, asked.output)
            return
        _follow(submission, reader)
        done = submission.outcome(planning) or _recorded_elsewhere(submission)
    _end(submission, planning, done, asked.output)


def _hand_over(head: Head, handed: Handing, submission: Submission) -> None:
    """Unless it is at work already: the same request twice is one job."""
    from cluster.errors import AlreadyRunning

    present = present_of(submission.run)
    try:
        if present.has_ended:
            with going_on(submission.run, to_cancel(submission.run)):
                handed.deliver(head)
            message(f"{submission.id} was handed to {head.address}")
        else:
            message(f"{submission.id} is at work already: {present.state}, {present.reason}")
    except AlreadyRunning as error:
        # Whoever asked for the same was quicker.
        message(error.what)
    for command in ("status", "logs -f", "cancel"):
        message(f"next  aigc job {command} {submission.id}")


def _follow(submission: Submission, reader: LogReader) -> None:
    """To its end; where that is no success, this command ends with it."""
    present = follow(submission.run, reader, is_data=False)
    if present.state != "SUCCEEDED":
        leave(click.get_current_context(), submission.run, present)


def _recorded_elsewhere(submission: Submission) -> dict[str, object] | None:
    """The outcome that names another MLflow store than ours, if there is one."""
    from cluster.submissions import outcome

    if found := outcome(submission.run):
        message("warning: the cluster records in another MLflow: see MLFLOW_TRACKING_URI there")
    return found or None


def _end(
    submission: Submission, planning: Planning, outcome: dict[str, object] | None, output: Output
) -> None:
    from cluster.errors import LogLost
    from jobs.run import require_passed

    if outcome is None:
        raise LogLost(
            f"{submission.id} has succeeded, and its outcome is not in {submission.run.path}",
            "The cluster has to see the same workspace under the same path",
        )
    show_one(outcome, output)
    for command in next_commands(outcome, planning):
        message(f"next  {command}")
    require_passed(outcome)
