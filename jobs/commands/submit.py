"""aigc submit: plan, ask, run, and say what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.following import take_over
from jobs.commands.plan import again, next_commands, show_plan
from jobs.console import Output, as_json, message, output_option, show_one
from jobs.interruption import heed_lost
from jobs.invocation import Invocation, insecure_option, where_option

if TYPE_CHECKING:
    from jobs.source import Source


@dataclass(frozen=True)
class Asked:
    """How a spec is to be run. `rerun_of` is the submission whose spec it is, which its run
    remembers if it is another one; `tick` the folder of the tick of a schedule that it is for, and
    `attempt` the number of the attempt, where it is an engine that asks."""

    place: str
    priority: int
    insecure: bool
    detach: bool
    dry_run: bool
    yes: bool
    output: Output
    rerun_of: str | None = None
    tick: Path | None = None
    attempt: int | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is handed to a head."""
        return "://" in self.place


def running_options(command: Callable[..., None]) -> Callable[..., None]:
    """What one can say of how a spec is run: handed to the command as `settings` and `asked`."""

    @wraps(command)
    def run(*arguments: object, settings: tuple[str, ...], **words: object) -> None:
        asked = Asked(**{name: words.pop(name) for name in _WORDS})  # type: ignore[arg-type]
        if asked.detach and not asked.is_elsewhere:
            raise click.UsageError("--detach is for a cluster: --on https://HEAD:8265")
        command(*arguments, settings=settings, asked=asked, **words)

    wrapped: Callable[..., None] = run
    for option in (
        output_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option(
            "--dry-run", is_flag=True, help="Print the plan, and the request to a head, and stop."
        ),
        click.option("--detach", is_flag=True, help="Do not follow what was handed to a head."),
        insecure_option,
        click.option(
            "--priority",
            type=click.IntRange(-100, 100),
            default=0,
            metavar="N",
            help="Among the jobs that wait for the same cluster the highest comes first.",
        ),
        where_option,
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="PATH=VALUE",
            help="Change a field of the spec.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


_WORDS = ("place", "priority", "insecure", "detach", "dry_run", "yes", "output")


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC")
@click.option("--rerun-of", metavar="ID", hidden=True, help="The submission whose spec it is.")
@click.option(
    "--tick",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    hidden=True,
    help="The tick of a schedule that it is for: pinned and named once.",
)
@click.option(
    "--attempt",
    type=click.IntRange(1),
    metavar="N",
    hidden=True,
    help="The attempt at the tick: what was begun of it before is waited for.",
)
@click.option(
    "--render",
    type=click.Choice(["kuberay"]),
    help="Print the RayJob for KubeRay that runs it on a cluster of its own, and stop.",
)
@click.option("--queue", metavar="NAME", help="With --render: Kueue's queue that it waits in.")
@running_options
@click.pass_obj
def submit(
    invocation: Invocation,
    spec: Path,
    settings: tuple[str, ...],
    asked: Asked,
    rerun_of: str | None,
    tick: Path | None,
    attempt: int | None,
    render: str | None,
    queue: str | None,
) -> None:
    """Run the job that the file SPEC asks for, and follow it to its end."""
    from dataclasses import replace

    from jobs.spec import source_of

    if render is not None:
        show_ray_job(invocation, source_of(spec, settings), asked, queue)
    elif queue is not None:
        raise click.UsageError("--queue is one of Kueue's: say --render kuberay, too")
    else:
        asked = replace(asked, rerun_of=rerun_of, tick=tick, attempt=attempt)
        run_source(invocation, source_of(spec, settings), asked)


def show_ray_job(invocation: Invocation, source: Source, asked: Asked, queue: str | None) -> None:
    """Plan what the source asks for, and print the RayJob that runs it; YAML, or JSON."""
    from cluster.kuberay import QUEUE_NAME, OwnCluster
    from jobs.progress import Reporter
    from jobs.rendering import rendered
    from jobs.session import open_planning
    from jobs.source import written
    from jobs.spec import check
    from jobs.submission import prepare

    if asked.place != "local":
        raise click.UsageError("--render makes a cluster of its own: leave out --on")
    if asked.priority:
        raise click.UsageError(
            "--priority is for the line of a cluster, and --render makes one of its own; "
            "Kueue's priorities are classes with names: label the job by kubectl"
        )
    if queue is not None and not QUEUE_NAME.fullmatch(queue):
        raise click.UsageError(
            f"--queue {queue[:80]!r} is no name of a queue: at most 63 small letters, digits and -"
        )
    spec = check(source)
    planning = open_planning(invocation.open(), OwnCluster(spec.resources), Reporter())
    submission = prepare(spec, planning, source)
    document = rendered(submission, source, queue)
    show_plan(submission, planning)
    click.echo(as_json(document) if asked.output == "json" else written(document).rstrip())


def run_source(invocation: Invocation, source: Source, asked: Asked) -> None:
    """Plan what the source asks for, ask, run it, and say what to do next."""
    if asked.is_elsewhere:
        from jobs.commands.elsewhere import run_elsewhere

        run_elsewhere(invocation, source, asked)
    else:
        _run(invocation, source, asked)


def _run(invocation: Invocation, source: Source, asked: Asked) -> None:
    """On a place of this process."""
    from cluster.contact import in_contact
    from jobs.progress import Reporter
    from jobs.run import execute, in_turn, require_passed
    from jobs.schedule.once import prepare_for
    from jobs.session import open_session
    from jobs.spec import check

    spec = check(source)
    session = open_session(invocation.open(), asked.place, Reporter())
    submission = again(prepare_for(asked.tick, spec, session, source), asked.rerun_of)
    show_plan(submission, session)
    if asked.dry_run:
        return
    if not asked.yes and sys.stdin.isatty():
        click.confirm("Run it?", default=True, abort=True, err=True)
    if asked.tick is not None and asked.attempt is not None:
        take_over(click.get_current_context(), submission.run, asked.tick, asked.attempt)
    heed_lost()
    with session.place, in_turn(submission, session, asked.priority), in_contact(session.tracking):
        outcome = execute(submission, session, wait=asked.attempt is not None)
    show_one(outcome, asked.output)
    for command in next_commands(outcome, session):
        message(f"next  {command}")
    require_passed(outcome)
