"""What applying a file would change of a schedule, field by field, pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import FieldPath, SpecInvalid, dotted
from jobs.schedule.definition import Schedule, check_schedule
from jobs.source import Source, parse


@dataclass(frozen=True)
class Change:
    """A field that has another value than before; None where it has none."""

    field: str
    before: object
    after: object


def changes(kept: str | None, asked: Schedule) -> list[Change]:
    """What differs between a schedule as it is kept and the one that is asked for.

    One that is not there yet has no fields.
    """
    before = _fields(parse(kept.encode(), asked.name)) if kept is not None else {}
    old, new = dict(_leaves(before)), dict(_leaves(asked.model_dump(mode="json")))
    paths = [*new, *(path for path in old if path not in new)]
    return [
        Change(dotted(path), old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path)
    ]


def _fields(source: Source) -> Mapping[str, Any]:
    """All fields of a schedule, with the defaults of today if it is still one."""
    try:
        return check_schedule(source).model_dump(mode="json")
    except SpecInvalid:
        return source.data


def _leaves(value: Mapping[str, Any], path: FieldPath = ()) -> Iterator[tuple[FieldPath, object]]:
    for name, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _leaves(each, (*path, name))
        else:
            yield (*path, name), each
