"""aigc track: what MLflow is to know."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from jobs.console import Output, message, output_option, show_list
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.tracking import Tracking
    from cluster.workspace import RunFolder

COLUMNS = ("submission", "status", "points", "entries", "waits", "refused")


@click.group()
def track() -> None:
    """Deliver what waits for MLflow."""


@track.command()
@click.argument("submission", required=False)
@output_option
@click.pass_obj
def sync(invocation: Invocation, submission: str | None, output: Output) -> None:
    """Deliver to MLflow what it does not have yet: of every submission, or of SUBMISSION.

    Runs that say RUNNING, and that no process works on any more, are closed. Points and entries
    are those delivered now. Ends with 100 if something still waits.
    """
    from cluster.contact import deliver_left_behind, waiting_elsewhere
    from cluster.errors import TrackingUnavailable
    from cluster.tracking import Tracking

    tracking = Tracking(invocation.look())
    delivered = list(deliver_left_behind(tracking, _asked(tracking, submission)))
    records = [asdict(each) for each in delivered]
    show_list(records, COLUMNS, output, "MLflow has everything: nothing waits for it.")
    if elsewhere := waiting_elsewhere(tracking):
        message(
            f"{elsewhere} submission(s) have something for another store than this one: set "
            "MLFLOW_TRACKING_URI to what it was, or submit their specs again"
        )
    for each in delivered:
        if each.refused:
            where = tracking.workspace.run(each.submission).refused
            message(f"{each.submission}: MLflow would not take {each.refused}; they are in {where}")
    waiting = [each for each in delivered if each.reason is not None]
    if waiting:
        raise TrackingUnavailable(
            f"{sum(each.waits for each in waiting)} entries of {len(waiting)} submission(s) still "
            f"wait: {waiting[0].reason}"
        )


def _asked(tracking: Tracking, submission: str | None) -> list[RunFolder]:
    """The submissions to deliver. Raises SubmissionNotFound."""
    from cluster.contact import has_news, left_behind
    from cluster.errors import SubmissionNotFound

    if submission is None:
        return left_behind(tracking)
    run = tracking.workspace.run(submission)
    if not run.outbox.exists():
        raise SubmissionNotFound(
            f"there is no submission {submission!r} in {tracking.workspace.root}",
            "Name a folder of its runs, or none to deliver everything",
        )
    return [run] if has_news(tracking, run) else []
