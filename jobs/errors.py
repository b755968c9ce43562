"""The errors of what is asked for, and the exit code of every error.

FactoryError (aigc.errors)
├── SpecInvalid                 a spec cannot be read, or asks for what cannot be
├── DataError, ModelError, …    of aigc.errors
└── ClusterError                of cluster.errors
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aigc.errors import (
    DatasetNotFound,
    FactoryError,
    ImportRefused,
    MetricUnknown,
    Preempted,
    WorkspaceUnwritable,
)
from cluster.errors import (
    BucketRefused,
    Cancelled,
    CanNeverFit,
    CannotCancel,
    CredentialsRefused,
    GateRefused,
    HandoverUnsettled,
    HeadDiffers,
    HeadRefused,
    LogLost,
    LogNotFound,
    ModelNotFound,
    PackageTooLarge,
    ScheduleExists,
    ScheduleNotFound,
    StoreNewer,
    SubmissionNotFound,
    TicksMissed,
    WorkspaceNotFound,
)
from cluster.states import State

FieldPath = tuple[str | int, ...]
"""Where a value stands in a spec: ("training", "steps"), ("evaluation", "metrics", 0)."""

DONE = 0
OUR_ERROR = 1
FAILED = 100
NOT_FINISHED = 101
CANCELLED = 103
GATES_REFUSED = 107
INTERRUPTED = 130

EXIT_CODES: dict[type[BaseException], int] = {
    FactoryError: FAILED,
    Preempted: NOT_FINISHED,
    DatasetNotFound: 102,
    ModelNotFound: 102,
    WorkspaceNotFound: 102,
    SubmissionNotFound: 102,
    LogNotFound: 102,
    ScheduleNotFound: 102,
    Cancelled: CANCELLED,
    CannotCancel: 2,
    LogLost: 104,
    BucketRefused: 2,
    CanNeverFit: 105,
    TicksMissed: 106,
    GateRefused: GATES_REFUSED,
    ImportRefused: 2,
    MetricUnknown: 2,
    WorkspaceUnwritable: 2,
    CredentialsRefused: 2,
    HeadRefused: 2,
    HandoverUnsettled: NOT_FINISHED,
    HeadDiffers: 2,
    PackageTooLarge: 2,
    ScheduleExists: 2,
    StoreNewer: 2,
    KeyboardInterrupt: INTERRUPTED,
}
"""The code of a class holds for its subclasses, unless they have one of their own."""

CODES_OF_STATES: dict[State, int] = {
    "QUEUED": NOT_FINISHED,
    "PENDING": NOT_FINISHED,
    "RUNNING": NOT_FINISHED,
    "SUCCEEDED": DONE,
    "FAILED": FAILED,
    "CANCELLED": CANCELLED,
    "STOPPED": NOT_FINISHED,
    "INTERRUPTED": NOT_FINISHED,
}
"""What waiting for a submission in that state ends with."""


def dotted(path: FieldPath) -> str:
    """The path as one writes it: training.steps, evaluation.metrics[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w-]+", part) else shortened(part)
            text += f".{name}" if text else name
    return text


def shortened(value: object) -> str:
    """A value as it is quoted in a message: on one line, and never long."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 40 else f"{text[:37]}…"


@dataclass(frozen=True)
class Problem:
    """One mistake: the file (or the --set) and the line it stands in, the field, and what to do.

    `line` counts from 1 and is None where there are no lines.
    """

    file: str
    line: int | None
    path: FieldPath
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, dotted(self.path), self.message) if part)


class SpecInvalid(FactoryError):
    """A spec cannot be read, or asks for what cannot be. Holds every mistake that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = len(problems)
        what = "the spec has a mistake" if count == 1 else f"the spec has {count} mistakes"
        super().__init__(what, "Correct it and run the command again; nothing was started")
        self.problems = tuple(problems)
        # What pickle calls the class with.
        self.args = (self.problems,)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


EXIT_CODES[SpecInvalid] = 2


def exit_code(error: BaseException) -> int:
    """What the process ends with; 1 for an error nobody foresaw."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return OUR_ERROR
