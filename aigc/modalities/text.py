"""Text: records of L bytes of UTF-8, uint8 (L,), stored as `fixed_size_binary`.

A document is cut into records at the boundaries of characters; what a record has left over is
padded with zero bytes, which no text holds. A token is a byte.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

import pyarrow as pa
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from aigc.layout import Layout
from aigc.modalities.columns import binary_column, raw_tensor

SHORTEST = 4
"""Bytes of the longest character of UTF-8: a shorter record could not hold it."""

CELL_WIDTH, CELL_HEIGHT, LINE_HEIGHT = 176, 132, 12
LINE_CHARACTERS, LINES = 27, 10
"""A record on a contact sheet, in pixels and in characters."""


class TextModality:
    """The contract of `aigc.modalities.contract.Modality` for text."""

    column_name = "text"
    padding: int | None = 0

    def column_type(self, layout: Layout) -> pa.DataType:
        """`fixed_size_binary` of L bytes."""
        return pa.binary(layout.size)

    def to_column(self, stored: Tensor) -> pa.Array:
        """uint8 (N, L) as N binary values, without a copy of contiguous input."""
        return binary_column(stored)

    def from_column(self, column: pa.Array, layout: Layout) -> Tensor:
        """uint8 (N, L), without a copy. Raises ValueError."""
        if not pa.types.is_fixed_size_binary(column.type):
            raise ValueError(f"text is stored as {self.column_type(layout)}, not as {column.type}")
        return raw_tensor(column, len(column), layout)

    def decode(self, stored: Tensor) -> Tensor:
        """The bytes as tokens, int64 (N, L) in 0 … 255; 0 is padding."""
        return stored.to(torch.int64)

    def encode(self, samples: Tensor) -> Tensor:
        """Tokens as bytes, clamped to 0 … 255."""
        return samples.clamp(0, 255).to(torch.uint8)

    def sheet(self, stored: Tensor, columns: int = 10) -> Image.Image:
        """The beginnings of the texts in rows of `columns`, black on white, in cells with a line
        around them. Characters that the default font lacks are drawn as boxes."""
        rows = math.ceil(len(stored) / columns)
        picture = Image.new("L", (columns * CELL_WIDTH + 1, rows * CELL_HEIGHT + 1), 255)
        for index, text in enumerate(texts(stored)):
            place = index % columns * CELL_WIDTH, index // columns * CELL_HEIGHT
            picture.paste(_cell(text), place)
        return picture

    def transcript(self, stored: Tensor) -> str | None:
        """The whole texts, each under a line with its number. What a terminal could take for a
        command is shown as �."""
        return "".join(
            f"--- {number}\n{_legible(text)}\n" for number, text in enumerate(texts(stored))
        )

    def is_blank(self, stored: Tensor) -> Tensor:
        """Texts of nothing but white space."""
        return torch.tensor([not text.strip() for text in texts(stored)], dtype=torch.bool)


def texts(stored: Tensor) -> Iterator[str]:
    """Stored records (N, L) as strings without their padding; � for what is no UTF-8."""
    for record in stored:
        yield record.numpy().tobytes().rstrip(b"\0").decode("utf-8", "replace")


def pieces(document: bytes, length: int) -> Iterator[tuple[int, bytes]]:
    """The document in pieces of up to `length` bytes, and the byte that each begins at.

    No character is cut in two. Bytes that are no UTF-8 stay what they are.
    """
    start = 0
    while start < len(document):
        stop = boundary(document, start + length)
        yield start, document[start:stop]
        start = stop


def boundary(document: bytes, position: int) -> int:
    """The last byte up to `position` at which a character begins, or the document ends."""
    if position >= len(document):
        return len(document)
    for start in range(position, max(position - SHORTEST, 0), -1):
        if document[start] & 0b1100_0000 != 0b1000_0000:
            return start
    return position


def _legible(text: str) -> str:
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)


def _cell(text: str) -> Image.Image:
    cell = Image.new("L", (CELL_WIDTH + 1, CELL_HEIGHT + 1), 255)
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(_lines(text)):
        draw.text((6, 5 + number * LINE_HEIGHT), line, fill=0)
    draw.rectangle((0, 0, CELL_WIDTH, CELL_HEIGHT), outline=160)
    return cell


def _lines(text: str) -> list[str]:
    """The first lines of a text, broken where a cell ends; control characters are left out."""
    lines = [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, LINE_CHARACTERS, drop_whitespace=False) or [""]
    ]
    return ["".join(filter(str.isprintable, line)) for line in lines[:LINES]]
