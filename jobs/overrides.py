"""--set a.b=c: a value from the command line in the place of the one in the file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jobs.errors import FieldPath, Problem, SpecInvalid, dotted
from jobs.source import MAX_DEPTH, Source, parse_value

LONGEST = 60
"""Characters of a setting that a message quotes."""


def override(source: Source, settings: Sequence[str]) -> Source:
    """The source with each PATH=VALUE set; VALUE is YAML, a later setting wins.

    Whether the path exists is judged where all fields are. Raises SpecInvalid with every setting
    that cannot be applied.
    """
    problems: list[Problem] = []
    for setting in settings:
        try:
            source = _set(source, setting)
        except SpecInvalid as error:
            problems.extend(error.problems)
    if problems:
        raise SpecInvalid(problems)
    return source


def _set(source: Source, setting: str) -> Source:
    label = f"--set {setting}" if len(setting) <= LONGEST else f"--set {setting[:LONGEST]}…"
    name, equals, text = setting.partition("=")
    path: FieldPath = tuple(name.strip().split("."))
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        raise SpecInvalid([Problem(label, None, (), "must read PATH=VALUE, as training.steps=100")])
    value = parse_value(text, label)
    data = copy.deepcopy(source.data)
    section: Any = data
    made: list[FieldPath] = [path]
    for depth, part in enumerate(path[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
            made.append(path[:depth])
        section = section[part]
        if not isinstance(section, dict):
            message = f"{dotted(path[:depth])} is no section with fields: set it as a whole"
            raise SpecInvalid([Problem(label, None, (), message)])
    section[path[-1]] = value
    return _moved(replace(source, data=data), path, dict.fromkeys(made, label))


def _moved(source: Source, path: FieldPath, settings: dict[FieldPath, str]) -> Source:
    """The source with the places at and below `path` taken from `settings`."""

    def stays(place: FieldPath) -> bool:
        return place[: len(path)] != path

    lines = {place: line for place, line in source.lines.items() if stays(place)}
    kept = {place: label for place, label in source.settings.items() if stays(place)}
    return replace(source, lines=lines, settings=kept | settings)
