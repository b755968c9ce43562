"""Engines: one pass, or one that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from jobs.commands.schedule.opening import kept
from jobs.console import message
from jobs.invocation import Invocation, insecure_option, where_option

if TYPE_CHECKING:
    import threading

F = TypeVar("F", bound=Callable[..., object])


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


@click.command()
@engine_options
@click.pass_context
def tick(context: click.Context, place: str, insecure: bool, at_most: int) -> None:
    """Do one pass: start what is due, and look after it to its end. For cron or a CronJob.

    Any number of these, and of `serve`, may run at once.
    """
    from jobs.errors import FAILED

    if _run(context.obj, place, insecure, at_most, forever=False):
        context.exit(FAILED)


@click.command()
@engine_options
@click.pass_obj
def serve(invocation: Invocation, place: str, insecure: bool, at_most: int) -> None:
    """Start what is due, until SIGTERM or Ctrl-C. Jobs that are at work then go on."""
    _run(invocation, place, insecure, at_most, forever=True)


def _run(invocation: Invocation, place: str, insecure: bool, at_most: int, forever: bool) -> int:
    """Run an engine until SIGTERM or Ctrl-C; returns how many ticks have failed."""
    import threading

    from jobs.schedule.engine import Engine
    from jobs.schedule.submitting import Submitting

    workspace, halt = invocation.open(), threading.Event()
    schedules, ticks = kept(workspace)
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
