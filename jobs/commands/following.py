"""Following a submission to its end, whoever runs it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console import message
from jobs.errors import CODES_OF_STATES, GATES_REFUSED, INTERRUPTED
from jobs.interruption import heed_lost

if TYPE_CHECKING:
    from cluster.log_reader import LogReader
    from cluster.states import Standing, State
    from cluster.workspace import RunFolder, Workspace

IN_VAIN: tuple[State, ...] = ("FAILED", "CANCELLED")
"""A job that was stopped, or is gone without a word, goes on."""
POLL_SECONDS = 0.5
"""Between two looks at a submission that is waited for or followed."""


def follow(run: RunFolder, reader: LogReader, is_data: bool) -> Standing:
    """Print what is said until the submission has ended, as data or as messages; how it has.

    Raises LogLost.
    """
    with going_on(run, to_cancel(run)):
        for present in looks(run):
            for text in reader.new():
                click.echo(text, nl=False, err=not is_data)
            if present.has_ended:
                return present
    raise AssertionError("looks end with an end")


def looks(run: RunFolder) -> Iterator[Standing]:
    """The state now and then; the last one is that of an end. Raises LogLost.

    What a waiting submission waits for is said when it changes.
    """
    look, said = _look(run), ""
    while not (present := look()).has_ended:
        if present.state in ("QUEUED", "PENDING") and present.reason != said:
            said = present.reason
            message(f"{run.submission}: {present.state}, {said}")
        yield present
        time.sleep(POLL_SECONDS)
        heed_lost()
    yield present


def present_of(run: RunFolder) -> Standing:
    """The state now, as far as it can be known."""
    from cluster.errors import HeadRefused, HeadUnavailable
    from cluster.submissions import standing

    if run.handover.exists():
        from cluster.following import standing_there

        try:
            return standing_there(run)
        except (HeadUnavailable, HeadRefused) as error:
            message(f"warning: {error}")
    return standing(run)


def settled(workspace: Workspace, pending: Sequence[str]) -> bool:
    """Ask their heads of those that were handed over; whether one of them has gone on.

    A head that does not answer is asked once, and the user hears of it.
    """
    handed = [run for each in pending if (run := workspace.run(each)).handover.exists()]
    if not handed:
        return False
    from cluster.errors import HeadRefused, HeadUnavailable
    from cluster.following import standing_there
    from cluster.handover import Handover

    silent, news = set[str](), False
    for run in handed:
        if (note := Handover.of(run)) is None or note.head in silent:
            continue
        try:
            news |= standing_there(run, tries=1).state != "PENDING"
        except (HeadUnavailable, HeadRefused) as error:
            silent.add(note.head)
            message(f"warning: what is PENDING there may have ended: {error.what}")
    return news


def _look(run: RunFolder) -> Callable[[], Standing]:
    """Asks a head, too, where the submission was handed to one."""
    if run.handover.exists():
        from cluster.following import Watch

        return Watch(run).look
    from cluster.submissions import standing

    return functools.partial(standing, run)


@contextmanager
def going_on(run: RunFolder, hint: str) -> Iterator[None]:
    """Say at Ctrl-C that the job does not end with this command, unless it has ended just now."""
    from cluster.submissions import standing

    try:
        yield
    except KeyboardInterrupt:
        present = standing(run)
        if present.has_ended:
            message(f"{run.submission}: {present.state}, {present.reason}")
        else:
            message(f"{run.submission} goes on: {present.reason}; {hint}")
        click.get_current_context().exit(INTERRUPTED)


def to_cancel(run: RunFolder) -> str:
    """How to end it after all."""
    return f"to end it: {run.command} job cancel {run.submission}"


def take_over(context: click.Context, run: RunFolder, tick: Path, attempt: int) -> None:
    """Wait for what another engine has begun of an attempt, and end as that has where it was in
    vain: what nobody has looked at is not begun a second time. Raises LogLost.
    """
    from jobs.schedule.once import Mark, mark_at

    mark = mark_at(tick, attempt, run)
    for present in looks(run):
        if present.has_ended and present.state in IN_VAIN and Mark.of(run) != mark:
            leave(context, run, present)


def leave(context: click.Context, run: RunFolder, present: Standing) -> None:
    """End with the exit code of a submission that has ended."""
    from cluster.submissions import outcome

    verdict = outcome(run).get("verdict")
    refused = isinstance(verdict, dict) and verdict.get("passed") is False
    message(f"{run.submission}: {present.state}, {present.reason}")
    if present.state == "SUCCEEDED" and refused:
        message("its gates refused what it made")
        context.exit(GATES_REFUSED)
    context.exit(CODES_OF_STATES[present.state])
