"""A spec's file as plain data that knows its lines.

YAML is read as its 1.2 core schema has it: `1e-4` is a number, `no` and `12:30` are text. What a
spec has no use for is refused rather than interpreted: tags, anchors and aliases, keys that stand
there twice, a second document. Sizes and depth are bounded, so that no file takes long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jobs.errors import FieldPath, Problem, SpecInvalid, shortened

MAX_BYTES = 1 << 20
MAX_VALUES = 10_000
MAX_DEPTH = 32

WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan")


@dataclass(frozen=True)
class Source:
    """Plain data, and where each value came from: a line of `file`, or a --set (in `settings`)."""

    file: str
    data: dict[str, Any]
    lines: dict[FieldPath, int]
    settings: dict[FieldPath, str] = field(default_factory=dict)

    def problem(self, path: FieldPath, message: str) -> Problem:
        """The mistake at `path`; what is not there is looked for where its parent stands."""
        for end in range(len(path), -1, -1):
            if setting := self.settings.get(path[:end]):
                return Problem(setting, None, path, message)
            if line := self.lines.get(path[:end]):
                return Problem(self.file, line, path, message)
        return Problem(self.file, None, path, message)


def read(path: Path | str) -> Source:
    """The spec in the file at `path`. Raises SpecInvalid."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problem = Problem(str(path), None, (), f"cannot be read: {reason}")
        raise SpecInvalid([problem]) from error
    return parse(content, str(path))


def parse(content: bytes, file: str) -> Source:
    """The spec in `content`; `file` is what messages call it. Raises SpecInvalid."""
    return _source(_Document(decoded(content, file), file))


def parse_kept(text: str, file: str) -> Source:
    """The same of a text that `written` has made, an order of magnitude quicker.

    Only PyYAML's own reader says of a mistake what one can use, so that reads what has one.
    """
    if not yaml.__with_libyaml__:
        return parse(text.encode(), file)
    try:
        return _source(_Document(text, file, yaml.CSafeLoader))
    except SpecInvalid:
        return parse(text.encode(), file)


def _source(document: _Document) -> Source:
    data, file = document.only_value(), document.file
    if not isinstance(data, dict) and not document.problems:
        document.refuse(1, (), "a spec is a mapping of fields, as: kind: train")
    if document.problems:
        raise SpecInvalid(document.problems)
    return Source(file, data, document.lines)


def parse_value(text: str, label: str) -> Any:
    """One value, as it stands behind --set. Raises SpecInvalid."""
    document = _Document(decoded(text.encode(errors="surrogatepass"), label), label)
    try:
        value, problems = document.only_value(), tuple(document.problems)
    except SpecInvalid as error:
        value, problems = None, error.problems
    if problems:
        raise SpecInvalid([Problem(label, None, (), each.message) for each in problems])
    return value


def written(data: dict[str, Any]) -> str:
    """Plain data as YAML that `parse` reads as the same data."""
    return yaml.dump(data, Dumper=_Writer, sort_keys=False, allow_unicode=True)


class _Writer(yaml.SafeDumper):
    """Quotes what only YAML 1.2 takes for a number, as the name 1e5; keeps lines as lines."""


def _represent_text(writer: _Writer, text: str) -> yaml.ScalarNode:
    style = None if isinstance(_plain(text), str) else "'"
    style = "|" if "\n" in text else style
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _represent_text)


def decoded(content: bytes, file: str) -> str:
    """The text of a file. Raises SpecInvalid where it is too long or no UTF-8."""
    if len(content) > MAX_BYTES:
        raise SpecInvalid([Problem(file, None, (), "is longer than a spec can be (1 MiB)")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecInvalid([Problem(file, line, (), "is not UTF-8 text")]) from error


class _Document:
    """Reads the only document of a text, event by event, and goes on after a mistake.

    PyYAML's own composer recurses without a bound, expands aliases and lets the last of two equal
    keys win; its events carry the marks and have none of that.
    """

    def __init__(self, text: str, file: str, reader: Any = yaml.SafeLoader) -> None:
        self.file = file
        self.text = text
        self._reader = reader
        self.lines: dict[FieldPath, int] = {}
        self.problems: list[Problem] = []
        self._values = 0
        self._loader: yaml.SafeLoader

    def refuse(self, line: int, path: FieldPath, message: str) -> None:
        self.problems.append(Problem(self.file, line, path, message))

    def _give_up(self, line: int, path: FieldPath, message: str) -> SpecInvalid:
        return SpecInvalid([*self.problems, Problem(self.file, line, path, message)])

    def only_value(self) -> Any:
        """The value of the document. Raises SpecInvalid where reading on makes no sense."""
        try:
            self._loader = self._reader(self.text)
            return self._first_document()
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            raise self._give_up(line, (), "holds a character that YAML does not allow") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise self._give_up(line, (), f"is not YAML here: {error.problem}") from error
        except (ValueError, OverflowError) as error:
            # PyYAML hands escapes such as "\UFFFFFFFF" to chr() unchecked.
            line = self._loader.get_mark().line + 1
            raise self._give_up(line, (), "holds an escape that is no character") from error

    def _first_document(self) -> Any:
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise self._give_up(1, (), "is empty")
        value = self._value(self._next(), ())
        self._next()
        following = self._next()
        if not isinstance(following, yaml.StreamEndEvent):
            self.refuse(_line(following), (), "a second document begins: one file asks for one job")
        return value

    def _next(self) -> yaml.Event:
        event: yaml.Event = self._loader.get_event()  # type: ignore[no-untyped-call]
        return event

    def _value(self, event: yaml.Event, path: FieldPath) -> Any:
        line = _line(event)
        self.lines.setdefault(path, line)
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._give_up(line, (), f"holds more than {MAX_VALUES:,} values")
        if len(path) > MAX_DEPTH:
            raise self._give_up(line, path[:3], f"is nested more than {MAX_DEPTH} deep")
        self._refuse_marks(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None

    def _refuse_marks(self, event: yaml.Event, path: FieldPath) -> None:
        if getattr(event, "anchor", None):
            message = "anchors and aliases are not used in specs: write the value out"
            self.refuse(_line(event), path, message)
        if getattr(event, "tag", None):
            message = "tags are not used in specs: quote what is meant as text"
            self.refuse(_line(event), path, message)

    def _sequence(self, path: FieldPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: FieldPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line(event)
            key = self._key(event, path)
            here = (*path, key)
            if key in values:
                first = self.lines[here]
                self.refuse(line, here, f"stands here a second time, first in line {first}")
            self.lines.setdefault(here, line)
            values[key] = self._value(self._next(), here)
        return values

    def _key(self, event: yaml.Event, path: FieldPath) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._give_up(_line(event), path, "a key must be a name")
        self._refuse_marks(event, path)
        key = self._scalar(event, path)
        if not isinstance(key, str):
            self.refuse(_line(event), path, f"the key {shortened(key)} must be a name")
        return str(key)

    def _scalar(self, event: yaml.ScalarEvent, path: FieldPath) -> str | float | None:
        text: str = event.value
        # libyaml has an empty style where PyYAML has none.
        value = text if event.style else _plain(text)
        if isinstance(value, int) and abs(value) >= 1 << 63:
            self.refuse(_line(event), path, "is a larger number than can be stored")
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            self.refuse(_line(event), path, "holds half of a surrogate pair, which is no text")
        return value


def _plain(text: str) -> str | float | None:
    """An unquoted scalar of YAML 1.2's core schema."""
    if text in WORDS:
        return WORDS[text]
    # int() takes no more than 4,300 digits, and no field wants more than 19.
    if len(text) <= 40 and INTEGER.fullmatch(text):
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)
    if FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
