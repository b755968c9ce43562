"""Ctrl-C and SIGTERM while Ray starts: put off, not lost, and heard by who heard them before."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.signals import undisturbed

BOTH = (signal.SIGINT, signal.SIGTERM)

# The signal comes while the process forks: the first thing that Python runs after that is what
# `logging` has to say about it, and nothing can be raised from there.
FORKS = """
import _thread, os
os.register_at_fork(after_in_parent=_thread.interrupt_main)
import logging, subprocess, threading
from cluster.signals import undisturbed

came = False
try:
    with undisturbed():
        subprocess.run(["true"], preexec_fn=lambda: None)
except KeyboardInterrupt:
    came = True
waits = threading.Thread(target=logging.getLogger, args=("another",), daemon=True)
waits.start()
waits.join(10)
print(came, not waits.is_alive())
"""

RAY = """
import pathlib, signal, time
from cluster.local import LocalRay

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with LocalRay(pathlib.Path("{folder}")):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def raising() -> Iterator[None]:
    before = {number: signal.signal(number, signal.default_int_handler) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def said_by(script: str) -> str:
    run = [sys.executable, "-c", script]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout


def test_an_interruption_in_a_fork_is_neither_lost_nor_keeps_a_lock() -> None:
    assert said_by(FORKS) == "True True\n"


def test_a_job_on_ray_hears_of_sigterm_as_before(tmp_path: Path) -> None:
    assert said_by(RAY.format(folder=tmp_path)) == "interrupted\n"


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.usefixtures("raising")
def test_a_signal_is_heard_when_the_block_has_ended(number: int) -> None:
    steps = []

    def interrupted() -> None:
        signal.raise_signal(number)
        steps.append("went on")

    with pytest.raises(KeyboardInterrupt), undisturbed():
        interrupted()
    assert steps == ["went on"]


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.usefixtures("raising")
def test_a_second_signal_ends_the_block(number: int) -> None:
    steps = []

    def interrupted_twice() -> None:
        signal.raise_signal(number)
        steps.append("went on")
        signal.raise_signal(number)
        steps.append("never")

    with pytest.raises(KeyboardInterrupt), undisturbed():
        interrupted_twice()
    assert steps == ["went on"]


@pytest.mark.usefixtures("raising")
def test_handlers_that_the_block_leaves_are_undone() -> None:
    with undisturbed():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


@pytest.mark.usefixtures("raising")
def test_what_a_handler_of_the_block_makes_of_it_is_an_interruption() -> None:
    def ended_by_its_own() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), undisturbed():
        ended_by_its_own()
