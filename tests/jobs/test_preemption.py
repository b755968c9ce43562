"""What a training is told by signals: SIGTERM asks it to stop, Ctrl-C interrupts it."""

from __future__ import annotations

import signal
import weakref
from pathlib import Path

import pytest

from aigc.errors import Preempted
from cluster.workspace import RunFolder
from jobs.preemption import stoppable


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_sigterm_asks_the_training_to_stop(run: RunFolder) -> None:
    with pytest.raises(Preempted), stoppable(run):
        signal.raise_signal(signal.SIGTERM)
    assert run.stop.exists()


def test_ctrl_c_interrupts(run: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(run):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with stoppable(run):
        assert not run.stop.exists(), "the next attempt is not asked to stop"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_that_python_swallows_stops_the_training_all_the_same(run: RunFolder) -> None:
    class Referred:
        pass

    referred = [Referred()]
    reference = weakref.ref(referred[0], lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Preempted), stoppable(run):
        referred.clear()
    assert reference() is None
