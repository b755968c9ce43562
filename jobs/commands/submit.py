"""aigc submit: plan, ask, run, and say what to do next."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console import F, Output, as_json, message, output_option, show_one
from jobs.invocation import Invocation, place_option

if TYPE_CHECKING:
    from jobs.source import Source
    from jobs.submission import Outcome, Session, Submission


def running_options(command: F) -> F:
    """What one can say of how a spec is run: handed to the command as `settings`, `place`,
    `dry_run`, `yes` and `output`."""
    for option in (
        output_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Print the plan and stop."),
        place_option,
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="PATH=VALUE",
            help="Change a field of the spec.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC")
@running_options
@click.option(
    "--render",
    type=click.Choice(["kuberay"]),
    help="Print the RayJob for KubeRay that runs it on a cluster of its own, and stop.",
)
@click.pass_obj
def submit(
    invocation: Invocation,
    spec: Path,
    settings: tuple[str, ...],
    place: str,
    dry_run: bool,
    yes: bool,
    output: Output,
    render: str | None,
) -> None:
    """Run the job that the file SPEC asks for, and follow it to its end."""
    from jobs.spec import source_of

    source = source_of(spec, settings)
    if render is not None:
        show_ray_job(invocation, source, output)
    else:
        run_source(invocation, source, place, dry_run, yes, output)


def show_ray_job(invocation: Invocation, source: Source, output: Output) -> None:
    """Plan what the source asks for, and print the RayJob that runs it; YAML, or JSON."""
    from jobs.progress import Reporter
    from jobs.rendering import rendered
    from jobs.source import written
    from jobs.spec import check
    from jobs.submission import open_session, pin

    asked = check(source)
    session = open_session(invocation.open(), "local", Reporter())
    submission = pin(asked, session, source)
    document = rendered(submission, source)
    show_plan(submission, session, f"kuberay: a cluster of its own with {asked.resources}")
    click.echo(as_json(document) if output == "json" else written(document).rstrip())


def run_source(
    invocation: Invocation,
    source: Source,
    place: str,
    dry_run: bool,
    yes: bool,
    output: Output,
    rerun_of: str | None = None,
) -> None:
    """Plan what the source asks for, ask, run it, and say what to do next.

    `rerun_of` is the submission whose spec it is, which its run remembers if it is another one.
    """
    from cluster.contact import in_contact
    from cluster.resources import feasibility
    from jobs.progress import Reporter
    from jobs.run import execute, require_passed
    from jobs.spec import check
    from jobs.submission import open_session, prepare

    asked = check(source)
    session = open_session(invocation.open(), place, Reporter())
    submission = prepare(asked, session, source)
    if rerun_of is not None:
        submission = again(submission, rerun_of)
    needs = session.place.needs(submission.spec.resources)
    fits = feasibility(needs, session.place.capacity())
    show_plan(submission, session, f"{session.place.name}: {fits.reason}")
    if dry_run:
        return
    if not yes and sys.stdin.isatty():
        click.confirm("Run it?", default=True, abort=True, err=True)
    with session.place, in_contact(session.tracking):
        outcome = execute(submission, session)
    show_one(outcome, output)
    for command in next_commands(outcome, session):
        message(f"next  {command}")
    require_passed(outcome)


def again(submission: Submission, first: str) -> Submission:
    """The submission, knowing that it was made from the spec of the submission `first`."""
    from cluster.submissions import parent

    if submission.id == first:
        return replace(submission, parent=parent(submission.run))
    return replace(submission, rerun_of=first)


def next_commands(outcome: Outcome, session: Session) -> list[str]:
    """What one wants to do after a job: look at what it made, check it, see its curves."""
    aigc = f"aigc --workspace {session.workspace.root}"
    commands = [f"mlflow ui --backend-store-uri {session.workspace.tracking_uri}"]
    if "model" in outcome:
        commands = [f"{aigc} model show {outcome['model']}", f"{aigc} model list", *commands]
    if outcome.get("published"):
        dataset = outcome["dataset"]
        commands = [f"{aigc} data verify {dataset}", f"{aigc} data show {dataset}", *commands]
    return commands


def show_plan(submission: Submission, session: Session, place: str) -> None:
    """What will be run, before it is: the resolved spec, and what it will use; `place` in words."""
    from cluster.code import code_digest
    from jobs.spec import as_document

    message(as_document(submission.spec).rstrip())
    for name, value in {
        "submission": submission.id,
        "done": "yes, its outcome will be shown" if submission.outcome(session) else "not yet",
        "place": place,
        "dataset": submission.dataset and submission.dataset.folder,
        "model": submission.model and f"{submission.model} {submission.model.digest[:12]}",
        "code": code_digest()[:12],
        "workspace": session.workspace.root,
        "tracking": session.workspace.tracking_uri,
    }.items():
        if value:
            message(f"{name:<12}{value}")
