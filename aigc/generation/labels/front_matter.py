"""Text and Markdown: the label in front matter, which is YAML between two lines of dashes."""

from __future__ import annotations

import json

from pydantic import ValidationError
from pydantic_core import from_json

from aigc.errors import LabelMalformed, Unlabelled
from aigc.generation.byte_rows import Rows, beside
from aigc.generation.labels.contract import Carrier
from aigc.generation.labels.label import AIGC, Label, malformed

LINE, KEY = "---\n", f"{AIGC}:".encode()
END = b"\n" + LINE.encode()


class FrontMatter(Carrier):
    """Text and Markdown, UTF-8."""

    def expressed(self, label: Label) -> bytes:
        """Front matter. A line of it is YAML, and its value JSON as well."""
        fields = label.model_dump(by_alias=True)
        lines = [
            f"  {key}: {json.dumps(text, ensure_ascii=False)}\n" for key, text in fields.items()
        ]
        return "".join([LINE, f"{AIGC}:\n", *lines, LINE]).encode()

    def put(self, media: Rows, expressed: Rows) -> Rows:
        """The label, and then the text as it is, even if that begins with front matter: whatever a
        model has written is content."""
        return beside(expressed, media)

    def found(self, media: Rows) -> Rows:
        """The front matter before texts. Raises Unlabelled."""
        head, end, _ = media[0].tobytes().partition(END)
        if not end:
            raise Unlabelled("the text has no label in front of it", "Write the label")
        return media[:, : len(head + end)]

    def understood(self, expressed: bytes) -> Label:
        """The label in front matter of the form that we give it and no other: whoever reads all of
        YAML reads what makes readers fall. Raises Unlabelled, LabelMalformed."""
        first, *lines = expressed.removesuffix(END).split(b"\n")
        if first + b"\n" != LINE.encode() or KEY not in lines:
            raise Unlabelled("the text has no label in front of it", "Write the label")
        if lines[0] != KEY or len(lines) != 1 + len(Label.model_fields):
            raise _unreadable("the front matter has other lines than the label's")
        try:
            return Label.model_validate(dict(map(_field, lines[1:])), by_alias=True, by_name=False)
        except ValidationError as error:
            raise malformed(error) from error
        except ValueError as error:
            raise _unreadable(str(error)) from error


def _field(line: bytes) -> tuple[str, object]:
    """Key and value of `  KEY: "VALUE"`. Raises ValueError."""
    key, separator, value = line.decode().partition(": ")
    if not separator or not key.startswith("  "):
        raise ValueError("a line of it is not KEY: VALUE")
    # Unlike json, this has an error and no RecursionError for what is nested without end.
    return key[2:], from_json(value)


def _unreadable(what: str) -> LabelMalformed:
    return LabelMalformed(
        f"the label in front of the text cannot be read: {what}",
        "Write the label anew from the record",
    )
