"""The submissions of a workspace, read from their files: nothing is changed, no MLflow is asked.

A file that is damaged or half written costs what it would have said, and nothing else.
"""

from __future__ import annotations

import difflib
import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from aigc.data.files import digest_of
from cluster.errors import SubmissionNotFound
from cluster.handover import Handover
from cluster.holder import is_held
from cluster.journal import Entry, is_count, is_report, now
from cluster.states import Facts, Standing, State, judge, seconds_left
from cluster.tails import ends, entries, last, last_entries, whole
from cluster.workspace import RunFolder, Workspace

KIND_TAG, STEPS_TAG, RERUN_TAG = "aigc.kind", "aigc.steps", "aigc.rerun_of"
"""Tags of a run: what kind of job it is, how many steps it will take, whose spec it has."""

NEAR_NAMES = 3
MOST_DIGITS = 18
"""Of a number in words: what has more is damage, and Python makes no number of it."""
_CHECKPOINT = re.compile(rf"step-(\d{{1,{MOST_DIGITS}}})")


@dataclass(frozen=True)
class Summary:
    """A submission as it is listed. Times are milliseconds since 1970; what is not known is None.

    `step` is the last one of the journal; of a search both count trials.
    """

    id: str
    kind: str | None
    name: str | None
    state: State
    step: int | None
    steps: int | None
    started: int | None
    ended: int | None


@dataclass(frozen=True)
class Details:
    """What is known of one submission beyond its summary.

    `figures` are those of the last report. `checkpoint` has its step and when it was written,
    `trials` of a search how many have ended and failed, and the best so far. `search` is the
    submission that it is a trial of.
    """

    summary: Summary
    standing: Standing
    attempts: int
    seconds_left: float | None
    figures: dict[str, float]
    checkpoint: tuple[int, int] | None
    trials: dict[str, Any] | None
    search: str | None
    rerun_of: str | None
    run_id: str | None
    link: str | None


def find(workspace: Workspace, prefix: str) -> RunFolder:
    """The submission of that id, or the only one whose id begins so. Raises SubmissionNotFound."""
    names = workspace.submissions()
    found = [prefix] if prefix in names else [name for name in names if name.startswith(prefix)]
    if len(found) == 1 and prefix:
        return workspace.run(found[0])
    near = sorted(found)[:NEAR_NAMES] if found else _near(prefix, names)
    what = f"{len(found)} submissions begin with" if found else "there is no submission"
    asked = f"Did you mean {', '.join(near)}?" if near else f"See: {workspace.command} job list"
    raise SubmissionNotFound(f"{what} {prefix!r} in {workspace.root}", asked)


def summaries(workspace: Workspace) -> list[Summary]:
    """The submissions, the newest first."""
    waiting = workspace.waiting()
    with _nothing_collected():
        found = [
            _summary(f"{workspace.root}/runs/{name}", name, name in waiting)
            for name in workspace.submissions()
        ]
    return sorted(found, key=lambda each: (each.started or 0, each.id), reverse=True)


def standing(run: RunFolder) -> Standing:
    """The state of a submission now, and why, as far as its files say."""
    if (handed := _handed(run)) is not None:
        return handed
    checkpoint = newest_checkpoint(run)
    first, newest = ends(run.outbox)
    facts = _facts(run, bool(first or newest), _closing(run, newest))
    return judge(replace(facts, step=checkpoint[0] if checkpoint else None))


def details(run: RunFolder, workspace: Workspace) -> Details:
    """All that is known of a submission."""
    summary = _stepped(run, _read(run))
    begins = [entry for entry in entries(run.outbox) if "begin" in entry]
    begun = begins[-1] if begins else None
    began = _time(begun) or 0
    reports = [entry for entry in last_entries(run.journal) if is_report(entry)]
    recent = [(each["time"], each["step"]) for each in reports if each["time"] >= began]
    present = standing(run)
    left = None if present.has_ended else seconds_left(recent, summary.steps, now())
    run_id, link = _tracked(run, workspace)
    return Details(
        summary,
        present,
        len(begins),
        left,
        reports[-1]["figures"] if reports else {},
        newest_checkpoint(run),
        _trials(run),
        parent(run),
        _tags(begun).get(RERUN_TAG),
        run_id,
        link,
    )


def is_open(run: RunFolder) -> bool:
    """Whether nobody has closed the record of the last attempt, whoever holds the submission."""
    return _closing(run, last(run.outbox)) is None


def newest_checkpoint(run: RunFolder) -> tuple[int, int] | None:
    """The step of the newest checkpoint, and when it was written in milliseconds since 1970."""
    with suppress(OSError, ValueError):  # the latter where there is none
        names = [_CHECKPOINT.fullmatch(path.name) for path in run.checkpoints.iterdir()]
        step, name = max((int(name[1]), name[0]) for name in names if name)
        return step, (run.checkpoints / name).stat().st_mtime_ns // 1_000_000
    return None


def parent(run: RunFolder) -> str | None:
    """The search that the submission is a trial of."""
    first, _ = ends(run.outbox)
    return _section(first, "begin").get("parent")


def outcome(run: RunFolder) -> dict[str, Any]:
    """What the submission ended with; empty as long as it is not done."""
    return whole(run.outcome)


def _near(prefix: str, names: list[str]) -> list[str]:
    """The ids that look most like it, whole or as far as it goes."""
    starts = {name[: len(prefix)]: name for name in names}
    found = difflib.get_close_matches(prefix, names, NEAR_NAMES)
    found += [starts[each] for each in difflib.get_close_matches(prefix, starts, NEAR_NAMES)]
    return list(dict.fromkeys(found))[:NEAR_NAMES]


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Without looks for cycles of objects, of which reading makes none: a sixth of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _summary(folder: str, name: str, waits: bool) -> Summary:
    """Of the submission of that name in a folder; `waits`: it has a ticket of the line.

    Nearly all have ended, and the ends of their outboxes say how. No Path is made for those: of
    ten thousand that is a third of the time.
    """
    first, newest = ends(f"{folder}/outbox.jsonl")
    if newest and "end" in newest and not waits and not os.path.exists(f"{folder}/handover.json"):
        why = _section(newest, "why")
        state = _end(str(newest["end"]), str(why.get("error") or ""))
        summary = _told(name, state, first, newest)
        if summary.step is not None:
            return summary
    run = RunFolder(Path(folder))
    return _stepped(run, _read(run))


@lru_cache(maxsize=64)
def _end(closed_as: str, error: str) -> State:
    """The state of one whose record is closed."""
    return judge(Facts(held=False, end=closed_as, error=error)).state


def _told(name: str, state: State, first: Entry | None, closing: Entry | None) -> Summary:
    """The summary as far as these entries of its outbox go."""
    tags = _tags(first)
    return Summary(
        name,
        tags.get(KIND_TAG),
        _section(first, "begin").get("name"),
        state,
        _number(closing.get("step")) if closing else None,
        _number(tags.get(STEPS_TAG)),
        _time(first),
        _time(closing),
    )


def _read(run: RunFolder) -> Summary:
    """The summary as far as the outbox goes: of an open one it has not the step."""
    first, newest = ends(run.outbox)
    closing, handed = _closing(run, newest), _handed(run)
    state = (handed or judge(_facts(run, bool(first or newest), closing))).state
    told = _told(run.submission, state, first, closing)
    if handed is None:
        return told
    kind, name = _asked_for(run)
    return replace(told, kind=kind, name=name, started=told.started or _handed_at(run), ended=None)


def _handed(run: RunFolder) -> Standing | None:
    """What is known of it as long as its process has written nothing: that it waits in line, or
    what the note of its handover says."""
    ticket = whole(run.ticket)
    if is_held(run.ticket) and not ticket.get("admitted"):
        return Standing("QUEUED", str(ticket.get("reason") or "it has come to the line"))
    note = Handover.of(run)
    return note.standing if note is not None and note.is_news(run) else None


def _asked_for(run: RunFolder) -> tuple[str | None, str | None]:
    """The kind and the name of a job that has not begun, by its spec."""
    # Few are waiting, and nobody else needs what reads YAML.
    import yaml

    with suppress(OSError, ValueError, yaml.YAMLError):
        spec = yaml.safe_load(run.spec.read_text())
        if isinstance(spec, dict):
            kind, name = spec.get("kind"), spec.get("name")
            return kind and str(kind), name and str(name)
    return None, None


def _handed_at(run: RunFolder) -> int | None:
    note = Handover.of(run)
    return note.time if note else None


def _stepped(run: RunFolder, summary: Summary) -> Summary:
    """The summary with the step that the journal has come to, if the end of it does not say."""
    if summary.step is not None:
        return summary
    reported = last(run.journal)
    return replace(summary, step=_number(reported and reported.get("step")))


def _facts(run: RunFolder, begun: bool, closing: Entry | None) -> Facts:
    """`begun`: it has a record; `closing` is the entry that closed it."""
    if closing is not None:
        why = _section(closing, "why")
        return Facts(False, begun, closing["end"], why.get("error"), why.get("said"))
    held = is_held(run.lock)
    done = not held and _is_done(run)
    stopping = held and (run.stop.exists() or run.cancel.exists())
    return Facts(held, begun, done=done, stopping=stopping)


def _closing(run: RunFolder, newest: Entry | None) -> Entry | None:
    """The entry that closed the record, unless an attempt has begun since; `newest` is the last."""
    if newest is not None and "end" in newest:
        return newest
    closing = None
    # What is registered of the best trial of a search comes after its end.
    for entry in entries(run.outbox):
        if "begin" in entry:
            closing = None
        elif "end" in entry:
            closing = entry
    return closing


def _is_done(run: RunFolder) -> bool:
    """Whether the last attempt has left an outcome, though its record is open."""
    began = 0
    for entry in entries(run.outbox):
        if "begin" in entry:
            began = _time(entry) or 0
    with suppress(OSError):
        return run.outcome.stat().st_mtime_ns // 1_000_000 >= began
    return False


def _section(entry: Entry | None, name: str) -> dict[str, Any]:
    section = entry.get(name) if entry else None
    return section if isinstance(section, dict) else {}


def _tags(begin: Entry | None) -> dict[str, Any]:
    return _section(_section(begin, "begin"), "tags")


def _time(entry: Entry | None) -> int | None:
    return _number(entry.get("time")) if entry else None


def _number(value: object) -> int | None:
    """A number that this program may have written; None for what else a damaged file has."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= MOST_DIGITS:
        return int(value)
    return value if is_count(value) else None


def _trials(run: RunFolder) -> dict[str, Any] | None:
    """How a search goes."""
    kept = whole(run.trials).get("trials")
    if not isinstance(kept, list):
        return None
    trials = [each for each in kept if isinstance(each, dict)]
    failed = sum(each.get("error") is not None for each in trials)
    ended = failed + sum(each.get("figure") is not None for each in trials)
    known = [each["submission"] for each in trials if each.get("submission")]
    return {"begun": len(trials), "ended": ended, "failed": failed, "submissions": known}


def _tracked(run: RunFolder, workspace: Workspace) -> tuple[str | None, str | None]:
    """The id of the MLflow run in the store of this workspace, and where its page is."""
    noted, uri = whole(run.delivered), workspace.tracking_uri
    run_id = noted.get("run_id") if noted.get("store") == digest_of(uri) else None
    is_server = uri.startswith(("http://", "https://"))
    return run_id, f"{uri.rstrip('/')}/#/runs/{run_id}" if run_id and is_server else None
