"""Engines: one pass, or one that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from jobs.commands.schedule.opening import kept, outbox
from jobs.console import message
from jobs.invocation import Invocation, insecure_option, where_option

if TYPE_CHECKING:
    import threading

    from cluster.schedules import Schedules
    from cluster.ticks import Ticks
    from jobs.schedule.engine import Engine
    from jobs.schedule.watch import Watch

AT_ONCE_SECONDS, PASS_SECONDS = 2.0, 30.0
"""As long as an engine that ends goes on to notify: one that was told to end, and a pass."""

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

    Any number of these, and of `serve`, may run at once. Ends with 100 if one has failed, and with
    101 if it was told to end before they had: they go on.
    """
    from jobs.errors import FAILED, NOT_FINISHED

    engine = _run(context.obj, place, insecure, at_most, forever=False)
    if engine.failed:
        context.exit(FAILED)
    if engine.left:
        context.exit(NOT_FINISHED)


class _Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT, or a port of this machine alone."""

    name = "address"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, int]:
        host, _, port = str(value).rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is no address as 127.0.0.1:9000", parameter, context)
        return host.strip("[]") or "127.0.0.1", int(port)


@click.command()
@engine_options
@click.option(
    "--health-address",
    "health",
    type=_Address(),
    metavar="[HOST:]PORT",
    help="Answer /healthz and Prometheus' /metrics there, on 127.0.0.1 if no host is said.",
)
@click.pass_obj
def serve(
    invocation: Invocation, place: str, insecure: bool, at_most: int, health: tuple[str, int] | None
) -> None:
    """Start what is due, until SIGTERM or Ctrl-C. Jobs that are at work then go on."""
    _run(invocation, place, insecure, at_most, forever=True, health=health)


def _run(
    invocation: Invocation,
    place: str,
    insecure: bool,
    at_most: int,
    forever: bool,
    health: tuple[str, int] | None = None,
) -> Engine:
    """Run an engine until SIGTERM or Ctrl-C, or one pass of it."""
    import threading

    from jobs.schedule.courier import Courier
    from jobs.schedule.engine import Engine
    from jobs.schedule.submitting import Submitting
    from jobs.schedule.watch import Watch

    workspace, halt = invocation.open(), threading.Event()
    schedules, ticks = kept(workspace)
    if not schedules.all():
        # Whoever mistypes the workspace would learn it by the nights that are not there.
        message(f"there are no schedules in {workspace.root}; aigc schedule apply FILE makes one")
    notices = outbox(workspace)
    watch = Watch(notices)
    courier = Courier(notices, message, watch.sent)
    jobs = Submitting(workspace, place, insecure)
    engine = Engine(schedules, ticks, jobs, message, at_most, after_pass=watch.after_pass)
    with ExitStack() as stack:
        stack.enter_context(_told_to(halt))
        if health is not None:
            stack.enter_context(_answering(health, watch, schedules, ticks))
        courier.start()
        engine.run(halt, forever)
        courier.finish(AT_ONCE_SECONDS if forever else PASS_SECONDS)
    return engine


@contextmanager
def _answering(
    health: tuple[str, int], watch: Watch, schedules: Schedules, ticks: Ticks
) -> Iterator[None]:
    """Answer requests about the engine. Raises UsageError where nobody can listen there."""
    import functools

    from jobs.schedule.watch import answering, standing

    with ExitStack() as stack:
        try:
            host, port = stack.enter_context(
                answering(health, watch, functools.partial(standing, schedules, ticks))
            )
        except OSError as error:
            where = ":".join(map(str, health))
            raise click.UsageError(
                f"--health-address: nobody can listen at {where}: {error.strerror}"
            ) from error
        message(f"http://{host}:{port}/healthz and /metrics")
        yield


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
