"""What the commands print: data on stdout as a table or JSON, messages on stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import click

Output = Literal["table", "json"]
Record = Mapping[str, object]
F = TypeVar("F", bound=Callable[..., object])


def output_option(command: F) -> F:
    """-o table|json, handed to the command as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print what is listed or shown.",
    )(command)


def message(text: str) -> None:
    """Tell the user something that is no data."""
    click.echo(text, err=True)


def show_list(
    records: Sequence[Record], columns: Sequence[str], output: Output, empty: str
) -> None:
    """Print records: as JSON whole, as a table their `columns`.

    `empty` is the sentence for the user when there are none; JSON has [] then.
    """
    if output == "json":
        click.echo(as_json([dict(record) for record in records]))
    elif records:
        click.echo(as_table(records, columns))
    else:
        message(empty)


def show_one(record: Record, output: Output) -> None:
    """Print one record: as JSON, or a line for each field."""
    if output == "json":
        click.echo(as_json(dict(record)))
    else:
        width = max(map(len, record), default=0)
        lines = [f"{name.ljust(width)}  {as_text(value)}" for name, value in record.items()]
        click.echo("\n".join(lines))


def as_json(value: object) -> str:
    """JSON for other programs: times with offset, and null where a figure is no number."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def as_table(records: Sequence[Record], columns: Sequence[str]) -> str:
    """Columns of equal width under their names; numbers stand on the right."""
    titles = [column.replace("_", " ").upper() for column in columns]
    rows = [[as_text(record.get(column)) for column in columns] for record in records]
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    right = [all(_is_number(record.get(column)) for record in records) for column in columns]
    sides = [">" if to_right else "<" for to_right in right]
    line = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return "\n".join(line.format(*cells).rstrip() for cells in [titles, *rows])


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def as_text(value: object) -> str:
    """One value for a person, on one line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {as_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(as_text(each) for each in value)
    return " ".join(str(value).split())


def instant(moment: datetime) -> str:
    """ISO 8601 to the second, with offset. Raises ValueError for a time without one."""
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment} says no offset")
    return moment.isoformat(timespec="seconds")


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
