"""A search for the best values of fields: what is searched, and the record of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_serializer, model_validator

from aigc.config import Config

MOST_TRIALS = 1000

Value = bool | int | float | str | None
"""A value of one field."""


class Range(Config):
    """What a field may be: one of `choice`, or a number from the first to the last of two.

    Both ends belong to it. `log_uniform` draws the exponent uniformly: 1e-4 … 1e-3 is as likely as
    1e-3 … 1e-2.
    """

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None
    choice: Annotated[tuple[Value, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _is_one_range(self) -> Self:
        given = self._as_written()
        if len(given) != 1:
            raise ValueError("needs one of uniform, log_uniform, integer, choice, and no other")
        if self.choice is None and self.ends[0] >= self.ends[1]:
            raise ValueError(f"must begin with the smaller number, as {list(self.ends[::-1])}")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("must be above 0 to be drawn by its exponent")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that say whether all others are allowed: both ends, or every choice."""
        (ends,) = self._as_written().values()
        found: tuple[Any, ...] = ends
        return found

    def allows(self, value: object) -> bool:
        """Whether the field may have that value."""
        if self.choice is not None:
            return value in self.choice
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.ends[0] <= value <= self.ends[1]


class Tune(Config):
    """A search over `fields`, by their paths in the spec, for the best `metric`.

    No trial begins after that many `trials`, or after that many `minutes`; at least one does.
    """

    fields: Annotated[dict[str, Range], Field(min_length=1)]
    metric: str
    trials: int | None = Field(default=None, gt=0, le=MOST_TRIALS)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("needs an end: trials, minutes or both")
        return self


@dataclass(frozen=True)
class Trial:
    """One training with `values` of its own; `number` counts from 0.

    `submission` has ended with `figure`, or failed with `error`; before that all three are None.
    """

    number: int
    values: Mapping[str, Value]
    submission: str | None = None
    figure: float | None = None
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.figure is None and self.error is None

    def __str__(self) -> str:
        said = ", ".join(f"{path} {_text(value)}" for path, value in self.values.items())
        return f"trial {self.number} with {said}"


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
