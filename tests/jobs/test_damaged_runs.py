"""Whatever has become of the files of a run, `aigc job` answers with sentences and its code."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aigc.data.importers import import_dataset
from cluster.workspace import RunFolder, Workspace
from jobs.cli import main
from jobs.specs import SPECS

BEGIN = {
    "name": "night",
    "tags": {"aigc.kind": "train", "aigc.steps": "100"},
    "parent": None,
    "store": "0",
}
OUTBOX = (
    {"time": 1000, "begin": BEGIN},
    {"time": 9000, "end": "KILLED", "why": {"error": "Preempted", "said": "it was stopped"}},
)
JOURNAL = tuple(
    {"step": step, "time": 100 * step, "figures": {"loss": 0.5}} for step in range(10, 100, 10)
)
LOG = "2026-11-24T03:00:12.345+00:00 INFO driver jobs.run: night begins\n"
READ = ("outbox", "journal", "trials", "delivered", "outcome", "lock", "driver")
BESIDE = ("spec", "checkpoints", "logs", "stop", "cancel", "registration", "environment")
"""What is not read as JSON, or only in an attempt."""
Damage = Callable[[Path], None]


def lines(*entries: Mapping[str, Any]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def written(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content) and None


def wrong(**changes: object) -> Damage:
    """The right content with some values that are none, wherever they stand."""

    def damage(path: Path) -> None:
        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: changes.get(key, changed(each)) for key, each in value.items()}
            return value

        path.write_text(lines(*map(changed, (*OUTBOX, *JOURNAL))))

    return damage


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def nothing(path: Path) -> None:
    pass


HUGE = "9" * 5000
"""More digits than Python makes a number of."""
DAMAGES: dict[str, Damage] = {
    "missing": nothing,
    "a folder": a_folder,
    "a link to itself": a_link_to_itself,
    "empty": written(b""),
    "not UTF-8": written(b'{"begin": "\xff\xfe"}\n'),
    "zeros": written(b"\0" * 5000 + b"\n"),
    "no JSON": written(b'{"time": 3\n'),
    "other JSON": written(b"[[1], null]\n"),
    "nested": written(b"[" * 100_000 + b"\n"),
    "ten megabytes": written(b'{"time": 1, "begin": {"name": "' + b"x" * 10_000_000 + b'"}}\n'),
    "no numbers": wrong(time=float("nan"), step=float("nan"), figures={"loss": float("nan")}),
    "infinite": wrong(time=float("inf"), step=float("-inf"), figures={"loss": float("inf")}),
    "strings": wrong(
        time="1000", step="10", figures={"loss": "0.5", "time/records_per_second": "9"}
    ),
    "too many digits": written(f'{{"time": {HUGE}, "step": {HUGE}, "end": "FAILED"}}\n'.encode()),
    "large": wrong(time=10**30, step=10**30, tags={"aigc.steps": "9" * 30}),
    "larger than any float": wrong(time=10**400, step=10**400, tags={"aigc.steps": "9" * 400}),
    "too many digits in a string": wrong(step=HUGE, time=HUGE, tags={"aigc.steps": HUGE}),
    "superscripts": wrong(step="²", tags={"aigc.steps": "²"}),
    "negative": wrong(time=-(10**15), step=-5, tags={"aigc.steps": "-100"}),
    "lists": wrong(time=[], step=[1], begin=[], end=["KILLED"], why=[], figures=[0.5]),
    "objects": wrong(time={}, step={}, name={}, end={"KILLED": 1}, figures={"loss": {}}),
    "null": wrong(time=None, step=None, begin=None, end=None, why=None, figures=None),
    "booleans": wrong(time=True, step=False, name=True, end=True, figures={"loss": True}),
    "unknown": wrong(end="EXPLODED", why={"error": ["x"], "said": {}}, tags=3, parent=["x"]),
    "nothing known": written(b"{}\n"),
    "trials": written(
        b'{"trials": [3, null, {"submission": {}, "figure": "x"}, {"submission": ["y"]}],'
        b' "verdict": {"passed": "no"}, "run_id": 5, "store": [], "host": 3, "pid": "x"}'
    ),
    "signed": written(b'{"host": "HOST", "pid": "12", "started": null}'),
}


UNREADABLE = ("missing", "a folder", "a link to itself")
PLAIN = (*UNREADABLE, "empty", "not UTF-8", "nested", "ten megabytes")
"""Those that have nothing to do with what stands in the file."""
EVERYWHERE = [
    *((name, damage) for name in READ for damage in DAMAGES),
    *((name, damage) for name in BESIDE for damage in PLAIN),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the digits, and a run beside the one that is damaged."""
    workspace = Workspace.at(tmp_path_factory.mktemp("damaged"))
    import_dataset(workspace.datasets, "digits")
    made(workspace.run("good-1"))
    return workspace


def made(run: RunFolder) -> RunFolder:
    """A training that was stopped, with everything that one has."""
    for step in (50, 100):
        (run.checkpoints / f"step-{step:08d}").mkdir(parents=True)
    run.logs.mkdir()
    (run.logs / "driver.log").write_text(LOG)
    run.outbox.write_text(lines(*OUTBOX))
    run.journal.write_text(lines(*JOURNAL))
    shutil.copy(SPECS / "tiny" / "vae.yaml", run.spec)
    for path in (run.lock, run.stop, run.cancel, run.delivered, run.environment):
        path.touch()
    return run


@pytest.fixture
def run(kept: Workspace) -> RunFolder:
    run = kept.run("night-1")
    shutil.rmtree(run.path, ignore_errors=True)
    return made(run)


def plant(run: RunFolder, name: str, damage: Damage) -> None:
    path = run.logs / "driver.log" if name == "driver" else getattr(run, name)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    damage(path)


class Said:
    """What `aigc job …` has said, which is never a traceback and never a fault of aigc."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "fault of aigc" not in err, err
        assert "Traceback" not in err

    def data(self) -> Any:
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out, parse_constant=pytest.fail)


Say = Callable[..., Said]


@pytest.fixture
def say(kept: Workspace, capsys: pytest.CaptureFixture[str]) -> Say:
    def say(*words: str) -> Said:
        capsys.readouterr()
        code = main(["--workspace", str(kept.root), "job", *words])
        return Said(code, *capsys.readouterr())

    return say


@pytest.mark.parametrize(("name", "damage"), EVERYWHERE)
def test_a_damaged_file_costs_what_it_would_have_said(
    name: str, damage: str, run: RunFolder, say: Say
) -> None:
    plant(run, name, DAMAGES[damage])

    listed = {each["id"]: each for each in say("list", "-o", "json").data()}
    assert listed["good-1"]["state"] == "STOPPED"
    state = listed["night-1"]["state"]
    assert say("list").out.count("\n") == 3
    shown = say("status", "night-1", "-o", "json").data()
    assert (shown["id"], shown["state"]) == ("night-1", state)
    assert say("status", "night-1").code == 0
    waited = say("wait", "night-1", "--timeout", "0")
    assert f"night-1: {state}, " in waited.err
    assert waited.code == {"SUCCEEDED": 0, "FAILED": 100, "CANCELLED": 103}.get(state, 101)
    assert say("logs", "night-1", "-f").code == waited.code
    assert say("logs", "night-1").code == say("logs", "night-1", "--all").code
    unread = name == "logs" or (name == "driver" and damage in UNREADABLE)
    assert say("logs", "night-1").code == (102 if unread else 0)
    cancelled = say("cancel", "night-1")
    assert (cancelled.code, "has ended already" in cancelled.err) == (2, True)
    rerun = say("rerun", "night-1", "--on", "here", "--dry-run")
    assert rerun.code == (2 if name == "spec" else 0)


@pytest.mark.parametrize(("name", "damage"), [each for each in EVERYWHERE if each[0] != "lock"])
def test_a_damaged_one_that_runs_is_seen_to_run(
    name: str, damage: str, run: RunFolder, say: Say
) -> None:
    run.outbox.write_text(lines(OUTBOX[0]))
    plant(run, name, DAMAGES[damage])
    with run.locked():
        (listed,) = say("list", "--limit", "1", "-o", "json").data()
        shown = say("status", "night-1", "-o", "json").data()
        assert say("list").code == say("status", "night-1").code == 0
        waited = say("wait", "night-1", "--timeout", "0")
    if name != "outbox":
        assert (listed["id"], listed["state"]) == ("night-1", "RUNNING")
        assert (shown["state"], waited.code) == ("RUNNING", 101)
        assert "has not ended after 0 s" in waited.err
        assert (name == "journal") or shown["step"] == 90
    assert shown["eta_seconds"] is None or shown["eta_seconds"] >= 0


@pytest.mark.parametrize(
    "signature",
    [
        *("", "null", "[1, 2, 3]", "{", "\0" * 100, '"' + "x" * 10**7 + '"'),
        *('{"host": 1, "pid": 2, "started": 3}', '{"host": "HERE", "pid": "2", "started": "3"}'),
        *('{"host": "HERE", "pid": -1, "started": 3}', '{"host": "HERE", "pid": 0, "started": 3}'),
        *('{"host": "HERE", "pid": 1e300, "started": 3}', '{"host": "HERE", "pid": true}'),
        '{"host": "HERE", "pid": 9' + "9" * 30 + ', "started": 3}',
        '{"host": "HERE", "pid": 1, "started": NaN}',
        '{"host": "HERE", "pid": 1, "started": null}',
        '{"host": "HERE", "pid": 1, "started": 3, "more": 4}',
    ],
)
def test_whoever_has_not_signed_properly_is_not_ended(
    signature: str, run: RunFolder, say: Say
) -> None:
    run.outbox.write_text(lines(OUTBOX[0]))
    with run.locked():
        run.lock.write_text(signature.replace("HERE", socket.gethostname()))
        cancelled = say("cancel", "night-1", "--grace", "0")
        assert say("status", "night-1", "-o", "json").data()["state"] == "RUNNING"
    assert cancelled.code == 2
    assert "night-1 is still held by a process" in cancelled.err


@pytest.mark.parametrize("damage", PLAIN)
def test_to_ask_one_to_end_says_why_it_cannot(damage: str, run: RunFolder, say: Say) -> None:
    run.outbox.write_text(lines(OUTBOX[0]))
    plant(run, "cancel", DAMAGES[damage])
    with run.locked():
        run.lock.write_text("")
        cancelled = say("cancel", "night-1", "--grace", "0")
    assert cancelled.code == 2
    blocked = f"cannot write {run.cancel}" if damage == "a folder" else "is still held by"
    assert blocked in cancelled.err


@pytest.mark.parametrize("damage", ["a folder", "nested", "strings", "nothing known"])
@pytest.mark.parametrize("name", [*READ, *BESIDE])
def test_a_rerun_goes_on_or_says_which_file_is_damaged(
    name: str, damage: str, kept: Workspace, say: Say
) -> None:
    settings = ("training.steps=2", "evaluation.metrics=[]", "registry=null", "name=again")
    changes = [word for each in settings for word in ("--set", each)]
    rerun = ("rerun", "good-1", "--on", "here", "--yes", *changes)
    for run in kept.runs():
        if run.submission != "good-1":
            shutil.rmtree(run.path)
    planned = say(*rerun, "--dry-run").err
    (made,) = [line.split()[1] for line in planned.splitlines() if line.startswith("submission")]
    run = kept.run(made)
    run.logs.mkdir(parents=True)
    plant(run, name, DAMAGES[damage])
    again = say(*rerun)
    assert again.code in (0, 2, 100)
    if again.code:
        assert str(run.path) in again.err.splitlines()[-1]
