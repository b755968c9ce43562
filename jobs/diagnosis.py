"""From what pydantic found to what a person needs: where, what is wrong, what would be right."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from jobs.errors import FieldPath, Problem, dotted, shortened
from jobs.source import Source


class Contradictions(PydanticCustomError):
    """What contradicts itself between fields of one model: several (path, message) at once."""

    def __new__(cls, found: Sequence[tuple[FieldPath, str]]) -> Contradictions:
        """The error that a validator raises; a model reports only one."""
        text = "; ".join(f"{dotted(path)}: {message}" for path, message in found)
        return super().__new__(cls, "contradictions", "{text}", {"text": text, "found": found})


def diagnose(error: ValidationError, source: Source, model: type[BaseModel]) -> list[Problem]:
    """A problem for each mistake, in the order of their lines."""
    problems = [
        source.problem(path, message)
        for details in error.errors(include_url=False)
        for path, message in _findings(details, source.data, model)
    ]
    return sorted(problems, key=lambda problem: problem.line or 0)


def unknown_value(value: object, allowed: Iterable[str]) -> str:
    """The sentence on a value that is none of the allowed ones."""
    known = list(allowed)
    return f"must be one of {', '.join(known)} (got {shortened(value)}){_meant(value, known)}"


def _meant(written: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(written), known, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _findings(
    details: ErrorDetails, data: Any, model: type[BaseModel]
) -> list[tuple[FieldPath, str]]:
    path = _path(details, data)
    context: Mapping[str, Any] = details.get("ctx", {})
    kind, value = details["type"], details["input"]
    if kind == "contradictions":
        return [((*path, *place), message) for place, message in context["found"]]
    if kind == "extra_forbidden":
        return [(path, _unknown_key(path[-1], _fields(model, path[:-1], data)))]
    if kind.startswith(("model", "dict", "union_tag")) and not isinstance(value, dict):
        fields = ", ".join(_fields(model, path, data)) or "fields"
        return [(path, f"must be a section with {fields} (got {shortened(value)})")]
    if kind == "union_tag_not_found":
        return [((*path, context["discriminator"].strip("'")), "is missing")]
    if kind == "union_tag_invalid":
        path = (*path, context["discriminator"].strip("'"))
        return [(path, unknown_value(context["tag"], _quoted(context["expected_tags"])))]
    return [(path, _message(kind, context, details))]


def _quoted(text: str) -> list[str]:
    """The words that pydantic lists in quotes."""
    return re.findall(r"'([^']*)'", text)


def _path(details: ErrorDetails, data: Any) -> FieldPath:
    """pydantic's location without what it adds: union tags and fields that the data has not."""
    path: list[str | int] = []
    last = len(details["loc"]) - 1
    for index, part in enumerate(details["loc"]):
        if _leads_on(data, part):
            data = data[part]
        elif index < last or details["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def _leads_on(data: Any, part: str | int) -> bool:
    return isinstance(data, list if isinstance(part, int) else dict) and (
        isinstance(part, int) or part in data
    )


def _unknown_key(key: object, allowed: Sequence[str]) -> str:
    return f"unknown key{_meant(key, allowed) or '; there are ' + ', '.join(allowed)}"


def _fields(model: type[BaseModel], path: FieldPath, data: Any) -> list[str]:
    """The fields at `path` of the models that the data can mean there."""
    models = [model]
    for part in path:
        data = data[part]
        annotations = [_annotation(each, str(part)) for each in models]
        models = [each for annotation in annotations for each in _models(annotation)]
        models = [each for each in models if _is_meant(each, data)] or models
    return list(dict.fromkeys(name for each in models for name in each.model_fields))


def _annotation(model: type[BaseModel], name: str) -> Any:
    """What the field may be; for a name of the user's own choice, what such names stand for."""
    if name in model.model_fields:
        return model.model_fields[name].annotation
    return typing.get_type_hints(model).get("__pydantic_extra__")


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, also within X | None, dict[str, X] and so on."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for inner in typing.get_args(annotation) for each in _models(inner)]


def _is_meant(model: type[BaseModel], data: Any) -> bool:
    """Whether the fields that can have one value only, as `family`, have it in the data."""
    if not isinstance(data, dict):
        return True
    written = {name: data[name] for name in model.model_fields if name in data}
    tags = {name: _only_value(model.model_fields[name].annotation) for name in written}
    return all(tag in (None, written[name]) for name, tag in tags.items())


def _only_value(annotation: Any) -> str | None:
    """The value of a Literal that has one."""
    values = typing.get_args(annotation)
    is_tag = typing.get_origin(annotation) is typing.Literal and len(values) == 1
    return str(values[0]) if is_tag else None


WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
}
LIMITS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "too_short": lambda context: f"a list of at least {context['min_length']}",
    "too_long": lambda context: f"a list of at most {context['max_length']}",
    "greater_than": lambda context: f"greater than {context['gt']:g}",
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
}


def _message(kind: str, context: Mapping[str, Any], details: ErrorDetails) -> str:
    value = details["input"]
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"]).removesuffix(".")
    if kind == "literal_error":
        return unknown_value(value, _quoted(context["expected"]))
    if kind in LIMITS:
        return f"must be {LIMITS[kind](context)} (got {shortened(value)})"
    for prefix, wanted in WANTED.items():
        if kind.startswith(prefix):
            return f"must be {wanted} (got {shortened(value)})"
    return f"{details['msg'][:1].lower()}{details['msg'][1:]} (got {shortened(value)})"
