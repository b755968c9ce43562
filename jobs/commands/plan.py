"""What is said before a job is run, and after."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.console import message

if TYPE_CHECKING:
    from jobs.session import Planning
    from jobs.submission import Outcome, Submission


def again(submission: Submission, first: str | None) -> Submission:
    """The submission, knowing that it was made from the spec of the submission `first`, if it
    was."""
    from cluster.submissions import parent

    if first is None:
        return submission
    if submission.id == first:
        return replace(submission, parent=parent(submission.run))
    return replace(submission, rerun_of=first)


def show_plan(submission: Submission, planning: Planning) -> None:
    """What will be run, before it is: the resolved spec, and what it will use."""
    from cluster.code import code_digest
    from cluster.resources import feasibility
    from jobs.spec import as_document

    needs = planning.place.needs(submission.spec.resources)
    message(as_document(submission.spec).rstrip())
    for name, value in {
        "submission": submission.id,
        "done": "yes, its outcome will be shown" if submission.outcome(planning) else "not yet",
        "place": f"{planning.place.name}: {feasibility(needs, planning.place.capacity()).reason}",
        "dataset": submission.dataset and submission.dataset.folder,
        "model": submission.model and f"{submission.model} {submission.model.digest[:12]}",
        "code": code_digest()[:12],
        "workspace": planning.workspace.root,
        "tracking": planning.workspace.tracking_uri,
    }.items():
        if value:
            message(f"{name:<12}{value}")


def next_commands(outcome: Outcome, planning: Planning) -> list[str]:
    """What one wants to do after a job: look at what it made, check it, see its curves."""
    aigc, store = planning.workspace.command, planning.workspace.tracking_uri
    commands = [shlex.join(["mlflow", "ui", "--backend-store-uri", store])]
    if "model" in outcome:
        commands = [f"{aigc} model show {outcome['model']}", f"{aigc} model list", *commands]
    if outcome.get("published"):
        dataset = outcome["dataset"]
        commands = [f"{aigc} data verify {dataset}", f"{aigc} data show {dataset}", *commands]
    return commands
