"""What earlier submissions have left: records that MLflow waits for, jobs that ended in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.doctor.contract import Finding, Installation, ok, warning

SHOWN = 3
"""Submissions that are named; of the others their number is told."""


def look(installation: Installation) -> Iterator[Finding]:
    """Read from the files of the submissions; no run is closed on the way."""
    from cluster.submissions import summaries

    workspace = installation.workspace
    found = summaries(workspace)
    yield judge_interrupted(len(found), [each.id for each in found if each.state == "INTERRUPTED"])
    yield judge_undelivered(*undelivered(installation))


def undelivered(installation: Installation) -> tuple[list[str], list[str]]:
    """The submissions that no process holds, and whose record this store, or another, has not."""
    from aigc.data.files import digest_of
    from cluster.cursor import Cursor
    from cluster.holder import is_held
    from cluster.tails import entries

    here, elsewhere = list[str](), list[str]()
    store = digest_of(installation.workspace.tracking_uri)
    for run in installation.workspace.runs():
        if is_held(run.lock):
            continue
        begins = (each.get("begin") for each in entries(run.outbox))
        meant = [each.get("store") for each in begins if isinstance(each, dict)]
        owner = str(meant[-1]) if meant else store
        if Cursor.of(run, owner).is_behind(run):
            (here if owner == store else elsewhere).append(run.submission)
    return here, elsewhere


def judge_interrupted(count: int, interrupted: Sequence[str]) -> Finding:
    """Submissions whose process is gone without a word."""
    if interrupted:
        found = f"{_named(interrupted)} ended without a word, of {count} submission(s)"
        return warning("interrupted", found, f"aigc job rerun {interrupted[0]} goes on with it")
    return ok("interrupted", f"none of {count} submission(s)")


def judge_undelivered(here: Sequence[str], elsewhere: Sequence[str]) -> Finding:
    """What MLflow is to know, and does not know yet."""
    if here:
        return warning(
            "record", f"MLflow has not all of {_named(here)}", "aigc track sync delivers it"
        )
    if elsewhere:
        advice = "Set MLFLOW_TRACKING_URI to what it was, then: aigc track sync"
        return warning("record", f"another MLflow store has not all of {_named(elsewhere)}", advice)
    return ok("record", "MLflow has all that it is to know")


def _named(submissions: Sequence[str]) -> str:
    rest = len(submissions) - SHOWN
    return ", ".join(submissions[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
