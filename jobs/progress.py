"""Live progress with an ETA: a bar on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.console import message

LINE_SECONDS = 5.0
"""Without a terminal, a line at most this often."""

log = logging.getLogger(__name__)


class Progress:
    """How far one piece of work is."""

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total, and a few words beside it."""


class Reporter:
    """Tells a person how work goes on."""

    def say(self, text: str) -> None:
        """A line that stays, on the terminal and in the log of the run."""
        log.info("%s", text)
        message(text)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Show the progress of `total` steps while the block runs."""
        if sys.stderr.isatty():
            with _bar(label, total) as shown:
                yield shown
        else:
            yield _Lines(label, total)


class Silent(Reporter):
    """Tells nobody: for work that another process, or many at once, are a part of."""

    def say(self, text: str) -> None:
        """A line in the log of the run."""
        log.info("%s", text)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Nothing, while the block runs."""
        yield Progress()


@dataclass
class _Lines(Progress):
    label: str
    total: int
    _started: tuple[float, int] | None = None
    _said: float = float("-inf")

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        # Counted from the first sign of life: what came before it was the start of the workers.
        since, first = self._started = self._started or (now, done)
        if done < self.total and now - self._said < LINE_SECONDS:
            return
        self._said = now
        missing = max(0, self.total - done)
        left = (now - since) / (done - first) * missing if done > first else None
        eta = f", {left:.0f} s left" if left else ""
        message(f"{self.label}: {done}/{self.total}{eta}{f'  {note}' if note else ''}")


@contextmanager
def _bar(label: str, total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )

    class _Bar(Progress):
        def update(self, done: int, note: str = "") -> None:
            bars.update(bar, completed=done, note=note)

    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(label, total=total, note="starting workers")
        yield _Bar()
