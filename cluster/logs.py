"""The logs of a run: what each of its processes says, beside the time and who says it.

2026-11-24T03:00:12.345+00:00 WARNING worker-0 cluster.training: …
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from aigc.data.files import unwritable
from aigc.errors import Preempted, first_line
from cluster.errors import Cancelled
from cluster.tasks import Input, Output, Task, within

OURS = ("aigc", "cluster", "jobs")
"""The packages whose progress is kept, too; of all others, warnings and errors."""
ASIDE = ("ray", "mlflow")
"""Libraries that may keep what they say from the root logger."""


@contextmanager
def logging_to(folder: Path, who: str) -> Iterator[None]:
    """While the block runs, add what this process logs to `folder`/WHO.log, and why it failed.

    In a process that is driver and worker at once, each line is in one of the two files. Warnings
    are on the terminal as without it. Raises WorkspaceUnwritable.
    """
    log = _opened(folder, who)
    with _listening(log), _talkative():
        try:
            yield
        except BaseException as error:
            log.keep(error)
            raise


def logged(task: Task[Input, Output], folder: Path, who: str) -> Task[Input, Output]:
    """The task with what it says in `folder`/WHO.log, wherever it is done.

    Several processes may add to one such file: a line is one write.
    """

    @functools.wraps(task)
    def telling(inputs: Iterator[Input]) -> Iterator[Output]:
        for result, _ in within(lambda: logging_to(folder, who), task(inputs)):
            yield result

    return telling


class RunLog(logging.FileHandler):
    """One file of a run's logs. What cannot be written to it is left out: no run ends for that."""

    def __init__(self, folder: Path, who: str) -> None:
        super().__init__(folder / f"{who}.log", encoding="utf-8", delay=True)
        self.folder = folder
        self.addFilter(lambda record: record.levelno >= logging.WARNING or _is_ours(record.name))
        self.setFormatter(
            _Line(f"{{asctime}} {{levelname}} {who} {{name}}: {{message}}", style="{")
        )

    def replaces(self, other: logging.Handler) -> bool:
        """Whether the other one is of the same run."""
        return isinstance(other, RunLog) and other.folder == self.folder

    def keep(self, error: BaseException) -> None:
        """Write down what ended the run: here alone, because a terminal is told one sentence."""
        failed = isinstance(error, Exception) and not isinstance(error, Preempted | Cancelled)
        level, said = (logging.ERROR, "failed") if failed else (logging.WARNING, "stopped")
        trace = (type(error), error, error.__traceback__) if failed else None
        words = (said, first_line(error))
        self.handle(logging.LogRecord(__name__, level, __file__, 0, "%s: %s", words, trace))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; the first one makes the file."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: a full disk is told of by what cannot do without it."""

    def close(self) -> None:
        """End, without what the disk still refuses."""
        with suppress(OSError):
            super().close()


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in OURS


class _Line(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )


def _opened(folder: Path, who: str) -> RunLog:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return RunLog(folder, who)


@contextmanager
def _listening(log: RunLog) -> Iterator[None]:
    """While the block runs, `log` hears everything, in the place of another one of its folder."""
    root = logging.getLogger()
    loggers = [root, *(each for each in map(logging.getLogger, ASIDE) if not each.propagate)]
    # Python prints warnings by itself only while nobody else takes them.
    printing = [logging.lastResort] if logging.lastResort and not root.handlers else []
    before = [(each, [old for old in each.handlers if log.replaces(old)]) for each in loggers]
    for logger, outer in before:
        _exchange(logger, outer, [log])
    _exchange(root, [], printing)
    try:
        yield
    finally:
        _exchange(root, printing, [])
        for logger, outer in before:
            _exchange(logger, [log], outer)
        log.close()


@contextmanager
def _talkative() -> Iterator[None]:
    """While the block runs, our packages tell of their progress."""
    before = [(each, each.level) for each in map(logging.getLogger, OURS)]
    for logger, _ in before:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


def _exchange(
    logger: logging.Logger, gone: Sequence[logging.Handler], come: Sequence[logging.Handler]
) -> None:
    for handler in gone:
        logger.removeHandler(handler)
    for handler in come:
        logger.addHandler(handler)
