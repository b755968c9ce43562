"""Ctrl-C at every moment of a submission to a real head: 130, one sentence, and one job or none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from cluster_jobs import LONG, PLAIN, SPEC, Jobs, until

import cluster.handover
import jobs.commands.elsewhere
import jobs.commands.job
from cluster.handover import Handover
from cluster.head import Head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

Interrupt = Callable[..., None]
MOMENTS = 40


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Makes Ctrl-C come before or after a function is called for the first time."""

    def at(owner: object, name: str, when: str, method: str | None = None) -> None:
        real, waits = getattr(owner, name), [True]

        @wraps(real)
        def call(*arguments: Any, **words: Any) -> Any:
            comes = waits[0] and (method is None or method in arguments)
            waits[0] = waits[0] and not comes
            if comes and when in ("before", "both"):
                signal.raise_signal(signal.SIGINT)
            given = real(*arguments, **words)
            if comes and when in ("after", "both"):
                signal.raise_signal(signal.SIGINT)
            return given

        monkeypatch.setattr(owner, name, call)

    return at


def is_one_job(jobs: Jobs) -> None:
    """The same command settles it: there is one job, and nothing half written."""
    assert list(jobs.workspace.root.rglob("*.partial")) == []
    code, _, err = jobs.submit(*LONG, words=("--detach",))
    assert code == 0, err
    assert len(jobs.asked) == 1
    (run,) = jobs.workspace.runs()
    note = Handover.of(run)
    assert note is not None
    assert [note.job] == list(jobs.asked)
    assert jobs.say("job", "list")[0] == 0


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Head, "require"),
        (jobs.commands.elsewhere, "show_plan"),
        (jobs.commands.elsewhere, "present_of"),
    ],
)
def test_before_it_is_handed_over_nothing_is(
    owner: object, name: str, jobs: Jobs, interrupt: Interrupt
) -> None:
    interrupt(owner, name, "after")
    code, out, err = jobs.submit(*LONG)

    assert (code, out) == (130, "")
    said = f"interrupted; nothing was handed to {jobs.head.address}: give the same command again"
    assert err.splitlines()[-1].startswith(said)
    assert (jobs.asked, list(jobs.workspace.runs())) == ({}, [])
    is_one_job(jobs)


@pytest.mark.parametrize(
    ("owner", "name", "when", "method"),
    [
        (cluster.handover, "write_text", "before", None),
        (Handover, "write", "after", None),
        (Head, "_ask", "before", "POST"),
        (Head, "_ask", "after", "POST"),
        (jobs.commands.elsewhere, "follow", "before", None),
    ],
)
def test_while_it_is_handed_over_it_is_and_goes_on(
    owner: object, name: str, when: str, method: str | None, jobs: Jobs, interrupt: Interrupt
) -> None:
    interrupt(owner, name, when, method)
    code, out, err = jobs.submit(*LONG)

    assert (code, out) == (130, "")
    (run,) = jobs.workspace.runs()
    assert err.splitlines()[-1] == (
        f"{run.submission} goes on: it was handed to {jobs.head.address}; "
        f"to end it: {run.command} job cancel {run.submission}"
    )
    assert len(jobs.asked) == 1
    is_one_job(jobs)


def test_who_does_not_wait_for_the_answer_is_told_how_to_find_it_out(
    jobs: Jobs, interrupt: Interrupt
) -> None:
    interrupt(Head, "_ask", "both", "POST")
    code, out, err = jobs.submit(*LONG)

    assert (code, out) == (130, "")
    (run,) = jobs.workspace.runs()
    assert "Ctrl-C again does not wait" in err.splitlines()[-2]
    said = f"{run.submission} may have been handed to {jobs.head.address}: the same command settles"
    assert err.splitlines()[-1].startswith(said)
    is_one_job(jobs)


def test_a_head_that_is_gone_when_ctrl_c_comes_is_what_counts(
    jobs: Jobs, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(Handover, "write", "after")
    monkeypatch.setattr(
        Head, "submit", lambda head, *_: Head.at("http://127.0.0.1:9", tries=1).date()
    )
    code, _, err = jobs.submit(*LONG)
    assert (code, err.splitlines()[-1][:22]) == (100, "error: no head answers")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whenever_it_comes(jobs: Jobs) -> None:
    """At many moments from the first import to a while after the job was handed over."""
    command = [sys.executable, "-m", "jobs", "--workspace", str(jobs.workspace.root)]
    words = [word for each in (*PLAIN, *LONG) for word in ("--set", each)]
    submit = [*command, "submit", SPEC, "--on", jobs.head.address, "--yes", *words]
    began = time.monotonic()
    subprocess.run([*submit, "--detach"], check=True)
    whole = time.monotonic() - began
    jobs.stop_all()
    for moment in range(1, MOMENTS + 1):
        before = jobs.asked
        child = subprocess.Popen(submit, stderr=subprocess.PIPE, text=True)
        time.sleep(1.5 * whole * moment / MOMENTS)
        child.send_signal(signal.SIGINT)
        err = child.communicate(timeout=120)[1]
        told = f"moment {moment}: {child.returncode} {err[-1000:]}"
        assert child.returncode == 130, told
        assert "Traceback" not in err, told
        new = jobs.asked.keys() - before.keys()
        last = err.splitlines()[-1]
        assert len(new) == ("goes on" in last), told
        assert new or last.startswith("interrupted; "), told
        # A job that goes on may be writing a file of its own just now; what is left behind stays.
        until(lambda: not list(jobs.workspace.root.rglob("*.partial")), 30, lambda: told)  # noqa: B023
        code, _, err = jobs.submit(*LONG, words=("--detach",))
        assert code == 0, told
        assert len(jobs.asked.keys() - before.keys()) == 1, f"{told} {err[-1000:]}"
        jobs.stop_all()
