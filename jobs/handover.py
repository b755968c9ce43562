"""What a head is asked for, so that a submission runs on its cluster as it would here."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from cluster.code import CODE_VARIABLE, code_digest
from cluster.environment import COMMIT_VARIABLE, commit
from cluster.handover import hand_over, job_name
from cluster.head import Head, JobRequest
from cluster.package import Package, pack
from cluster.store import holds_password
from cluster.workspace import Workspace
from jobs.session import Planning
from jobs.spec import as_document
from jobs.submission import Submission

NAMED = ("MLFLOW_TRACKING_URI", "AIGC_STORE")
"""Variables whose values travel: addresses. What is secret has to be on the cluster already."""


@dataclass(frozen=True)
class Handing:
    """A submission on its way to a head: exactly what is asked, and the code that goes with it."""

    submission: Submission
    request: JobRequest
    package: Package

    def deliver(self, head: Head) -> None:
        """Hand it over. Raises HeadUnavailable, HeadRefused, AlreadyRunning."""
        submission = self.submission
        hand_over(head, self.request, self.package, submission.run, as_document(submission.spec))


def handing(submission: Submission, planning: Planning, head: Head, priority: int) -> Handing:
    """The request to the head for the submission. Raises PackageTooLarge."""
    package, run = pack(), submission.run
    environment = {
        "py_modules": [package.uri],
        "env_vars": {**made_from(), **travelling(), **_authentication(head)},
    }
    name = job_name(run, planning.workspace)
    request = JobRequest(
        name,
        entrypoint(submission, planning.workspace, priority),
        environment,
        {"aigc": submission.id},
    )
    return Handing(submission, request, package)


def _authentication(head: Head) -> dict[str, str]:
    """How Ray is joined where no token is asked for: elsewhere its nodes know themselves."""
    return {} if head.token.is_given else {"RAY_AUTH_MODE": "disabled"}


def entrypoint(submission: Submission, workspace: Workspace, priority: int) -> str:
    """The command that a process on the cluster runs, in the workspace that both sides see.

    It takes the place of its shell: a job that is stopped while it starts has its shell killed, and
    what that has just begun went on without it.
    """
    words = ["exec", "python", "-m", "jobs", "--workspace", str(workspace.root), "submit"]
    words += [str(submission.run.spec), "--on", "cluster", "--yes"]
    if priority:
        words += ["--priority", str(priority)]
    if submission.rerun_of is not None:
        words += ["--rerun-of", submission.rerun_of]
    if submission.tick is not None:
        words += ["--tick", str(submission.tick)]
    return shlex.join(words)


def travelling() -> dict[str, str]:
    """The variables of this process that one on the cluster gets: no secret is among them."""
    here = {name: value for name in NAMED if (value := os.environ.get(name))}
    return {name: value for name, value in here.items() if not holds_password(value)}


def staying() -> list[str]:
    """The variables that hold a password, which the cluster must have from elsewhere."""
    return [name for name in NAMED if name in os.environ and name not in travelling()]


def made_from() -> dict[str, str]:
    """The variables that tell a process on a cluster which code it has to run, and its commit."""
    found = commit()
    return {CODE_VARIABLE: code_digest()} | ({COMMIT_VARIABLE: str(found)} if found else {})
