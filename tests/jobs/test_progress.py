"""Progress: plain lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import time
from dataclasses import replace

import pytest

from jobs.progress import Reporter, _Lines


def test_a_line_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().say("published night@1")

    assert capsys.readouterr() == ("", "published night@1\n")


def test_without_a_terminal_the_first_and_the_last_step_are_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reporter().progress("training x", 100) as progress:
        for step in range(10, 101, 10):
            progress.update(step, f"loss {step}")

    assert capsys.readouterr() == (
        "",
        "training x: 10/100  loss 10\ntraining x: 100/100  loss 100\n",
    )


def test_a_line_says_how_long_it_takes_still(capsys: pytest.CaptureFixture[str]) -> None:
    begun = _Lines("training x", 100)
    # 30 steps in a minute since the first sign of life, at step 10: 60 more take two.
    replace(begun, _started=(time.monotonic() - 60, 10)).update(40)

    found = re.fullmatch(r"training x: 40/100, (\d+) s left\n", capsys.readouterr().err)
    assert found
    assert int(found[1]) in range(119, 130)


def test_work_that_is_done_at_once_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().progress("generating", 5) as progress:
        progress.update(5)

    assert capsys.readouterr().err == "generating: 5/5\n"


def test_no_colour_and_no_control_characters_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reporter().progress("training", 2) as progress:
        progress.update(1)
        progress.update(2)

    assert "\x1b" not in capsys.readouterr().err
    assert "\r" not in capsys.readouterr().err


def test_on_a_terminal_a_bar_shows_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    ours, theirs = pty.openpty()
    with (
        os.fdopen(theirs, "w") as terminal,
        contextlib.redirect_stderr(terminal),
        Reporter().progress("training x", 20) as progress,
    ):
        progress.update(20, "loss 0.5")
    shown = ""
    # A terminal hands over piece by piece, and says that it was closed by an error.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 1 << 16):
            shown += piece.decode(errors="replace")
    os.close(ours)

    assert "training x" in shown
    assert "20/20" in shown
    assert "loss 0.5" in shown
