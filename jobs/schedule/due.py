"""When the tick was due that a job is submitted for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from jobs.errors import shortened


def _instant(text: str | None) -> str | None:
    """A moment has one name only, because it is part of the submission's."""
    if text is None:
        return None
    moment = None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
    if moment is None or moment.utcoffset() != timedelta() or moment.isoformat() != text:
        said = shortened(text)
        raise ValueError(f"must be a time of UTC as 2027-01-31T02:00:00+00:00 (got {said})")
    return text


def _is_absent(value: object) -> bool:
    return value is None


Due = Annotated[str | None, AfterValidator(_instant), Field(exclude_if=_is_absent)]
"""Another tick is another submission. Without one, the id of a submission is what it was before
there were schedules."""
