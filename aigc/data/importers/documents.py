"""Text files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigc.data.cleaning import Bytes, Rejected
from aigc.data.importers.contract import Options, Part, Raw
from aigc.data.importers.folders import (
    existing,
    folder_and_files,
    grouped,
    printable,
    ranges,
    regular,
    size_of,
    whole_file,
)
from aigc.errors import first_line
from aigc.modalities.text import SHORTEST, pieces

DOCUMENT_BYTES = 16 * 2**20
"""A longer file is read as documents of this length, so that no record needs those before it."""

MARK = b"\xef\xbb\xbf"
"""With which Windows begins a file, and which is no text."""


@dataclass(frozen=True)
class TextFiles:
    """A text file, or a folder of nothing else, in UTF-8."""

    root: Path
    files: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @classmethod
    def at(cls, path: Path | None, options: Options) -> TextFiles:
        """The files at `path`. Raises ImportRefused."""
        root, files = folder_and_files(existing(path, "a text file or a folder of them"))
        return cls(root, tuple(files))

    @property
    def origin(self) -> str:
        """The folder."""
        return printable(str(self.root))

    def parts(self) -> list[Part]:
        """Neighbouring files; of a long one, ranges of its bytes."""
        parts, short = list[Part](), list[str]()
        for file in self.files:
            size = size_of(self.root / file)
            if size <= DOCUMENT_BYTES:
                short.append(file)
                continue
            parts += [*grouped(self.root, short), *ranges(file, size, 1, DOCUMENT_BYTES)]
            short = []
        return [*parts, *grouped(self.root, short)]

    def read(self, part: Part) -> Iterator[Raw]:
        """The documents of a part."""
        for file in part.files:
            if part.stop is not None:
                yield _range(self.root, file, part.start, part.stop)
                continue
            try:
                yield _document(file, whole_file(self.root / file))
            except Rejected as rejected:
                yield Raw(printable(file), rejected)


def _document(file: str, content: bytes, start: int = 0) -> Raw:
    text = content if start else content.removeprefix(MARK)
    return Raw(printable(file), text, start=start + len(content) - len(text))


def _range(root: Path, name: str, start: int, stop: int) -> Raw:
    """The characters that begin in the bytes `start` … `stop` of a file."""
    with regular(root / name).open("rb") as file:
        file.seek(start)
        content = file.read(stop - start + SHORTEST - 1)
    first = _skipped(content) if start else 0
    last = stop - start + _skipped(content[stop - start :])
    return _document(name, content[first:last], start + first)


def _skipped(content: bytes) -> int:
    """How many bytes at the beginning belong to a character that began before."""
    count = 0
    while count < min(SHORTEST - 1, len(content)) and content[count] & 0xC0 == 0x80:
        count += 1
    return count


def stored_texts(value: object, length: int) -> Iterator[tuple[int, bytes, Bytes | Rejected]]:
    """A document's records: where each begins, its bytes, and uint8 (length,) or the reason
    against it."""
    try:
        document = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError as error:
        yield 0, repr(value).encode(), Rejected("undecodable", first_line(error))
        return
    if not isinstance(document, bytes):
        yield 0, b"", Rejected("undecodable", f"no text: {type(value).__name__}")
        return
    for start, piece in pieces(document, length):
        yield start, piece, _stored(piece, length)
    if not document:
        yield 0, b"", Rejected("blank", "the document is empty")


def _stored(piece: bytes, length: int) -> Bytes | Rejected:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejected("undecodable", f"no UTF-8: {error.reason} at byte {error.start}")
    if b"\0" in piece:
        return Rejected("undecodable", "it holds a zero byte, which no text does")
    return np.frombuffer(piece.ljust(length, b"\0"), np.uint8)
