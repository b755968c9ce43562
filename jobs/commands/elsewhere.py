"""aigc submit --on https://HEAD:8265: plan here, hand over, and follow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from jobs.commands.following import follow, going_on, leave, present_of, take_over, to_cancel
from jobs.commands.plan import again, next_commands, show_plan
from jobs.console import Output, as_json, message, show_one
from jobs.errors import INTERRUPTED
from jobs.interruption import heed_lost, putting_off

if TYPE_CHECKING:
    from cluster.head import Head
    from cluster.log_reader import LogReader
    from cluster.states import Standing
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
    with _nothing_handed_yet(asked.place):
        from cluster.log_reader import LogReader

        head, planning, handed = _plan(invocation, source, asked)
        if asked.dry_run:
            click.echo(as_json(handed.request.as_dict()))
            return
        submission = handed.submission
        _ask(asked, submission)
        done = submission.outcome(planning)
        present = present_of(submission.run)
    if done is None:
        with going_on(submission.run, to_cancel(submission.run)):
            # A worker tells how far it is. What earlier attempts have said is skipped.
            reader = LogReader(submission.run.logs, None)
            reader.new()
            _hand_over(head, handed, present)
            if asked.detach:
                show_one({"submission": submission.id, "head": head.address}, asked.output)
                return
            _follow(head, handed, reader)
            done = submission.outcome(planning) or _recorded_elsewhere(submission)
    _end(submission, planning, done, asked.output)


@contextmanager
def _nothing_handed_yet(place: str) -> Iterator[None]:
    """Say so at Ctrl-C, and where the user is asked and says no."""
    try:
        yield
        heed_lost()
    except (KeyboardInterrupt, click.Abort):
        message(f"interrupted; nothing was handed to {place}: give the same command again to do it")
        click.get_current_context().exit(INTERRUPTED)


def _plan(invocation: Invocation, source: Source, asked: Asked) -> tuple[Head, Planning, Handing]:
    """The head, what it is planned with, and what would be handed over; shown to the user."""
    from cluster.head import Head, Room
    from jobs.handover import handing, staying
    from jobs.progress import Reporter
    from jobs.schedule.once import prepare_for
    from jobs.session import open_planning
    from jobs.spec import check

    head = Head.at(asked.place, asked.insecure)
    spec = check(source)
    head.require()
    planning = open_planning(invocation.open(), Room(head), Reporter())
    submission = again(prepare_for(asked.tick, spec, planning, source), asked.rerun_of)
    show_plan(submission, planning)
    for name in staying():
        message(f"{name} holds a password and is not sent: set it on the cluster's nodes")
    return head, planning, handing(submission, planning, head, asked.priority)


def _ask(asked: Asked, submission: Submission) -> None:
    """Ask the user, and wait for what another engine has begun of a tick."""
    if not asked.yes and sys.stdin.isatty():
        click.confirm("Hand it over?", default=True, abort=True, err=True)
    if asked.tick is not None and asked.attempt is not None:
        take_over(click.get_current_context(), submission.run, asked.tick, asked.attempt)


def _hand_over(head: Head, handed: Handing, present: Standing) -> None:
    """Unless it is at work already: the same request twice is one job."""
    run = handed.submission.run
    if present.has_ended:
        _deliver(head, handed)
    else:
        message(f"{run.submission} is at work already: {present.state}, {present.reason}")
    for command in ("status", "logs -f", "cancel"):
        message(f"next  {run.command} job {command} {run.submission}")


def _deliver(head: Head, handed: Handing) -> None:
    """Hand it over. Ctrl-C waits until it is known whether the head has it; a second one does not.

    Where somebody was quicker who asked for the same, that is as good.
    """
    from cluster.errors import AlreadyRunning

    name = handed.submission.id
    said, is_settled = f"{name} was handed to {head.address}", False
    wait = f"one moment: asking whether {head.address} has it; Ctrl-C again does not wait for that"
    try:
        with putting_off(lambda: message(wait)):
            try:
                handed.deliver(head)
            except AlreadyRunning as error:
                said = error.what
            is_settled = True
    except KeyboardInterrupt:
        if is_settled:
            raise
        message(f"{name} may have been handed to {head.address}: the same command settles it")
        click.get_current_context().exit(INTERRUPTED)
    message(said)


def _follow(head: Head, handed: Handing, reader: LogReader) -> None:
    """To its end; where that is no success, this command ends with it.

    What a restarted head has forgotten before it began is handed over again.
    """
    from cluster.handover import was_forgotten

    run = handed.submission.run
    while (present := follow(run, reader, is_data=False)).state != "SUCCEEDED":
        if not was_forgotten(run):
            leave(click.get_current_context(), run, present)
        message(f"{head.address} has forgotten {run.submission}: handing it over again")
        _deliver(head, handed)


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
