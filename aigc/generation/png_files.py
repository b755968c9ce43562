"""PNG (ISO/IEC 15948) chunk by chunk.

A night makes hundreds of thousands of pictures, and each is written, labelled and read back. For a
digit of 28 × 28 Pillow needs 53 µs to write, twenty-five times as long. Checksums are
those of zlib-ng, which finds them in a quarter of zlib's time; what is compressed, zlib compresses.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from zlib_ng.zlib_ng import adler32, crc32

from aigc.generation.byte_rows import Rows, beside, each, rows_of, shared
from aigc.modalities.image_files import Pixels, listed

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER, DATA, TEXT, END = b"IHDR", b"IDAT", b"iTXt", b"IEND"
AFTER_HEADER = len(SIGNATURE) + 12 + 13
"""Where the second chunk begins: IHDR is the first one, and always of 13 bytes."""

STORED = 2048
"""Up to so many bytes, pixels are not compressed. Such a file, its label in it, takes one block of
a disk either way, and compressing a digit's 812 bytes takes 15 µs, seven times all that is done."""

_BEGINNING = struct.Struct(">I4s").unpack
"""What a chunk begins with: its size and kind."""

COLOUR_TYPES = {1: 0, 3: 2}
"""Grey and RGB, by the number of channels."""


def encode(pixels: Pixels) -> bytes:
    """uint8 (C, H, W), grey or RGB, as a PNG file; the same pixels give the same bytes.

    Raises ValueError.
    """
    return next(encode_all(pixels[None])).tobytes()


def encode_all(pictures: Pixels) -> Iterator[Rows]:
    """uint8 (N, C, H, W), N ≥ 1, as PNG files, each as `encode` gives it: those that follow one
    another and are of one length at once. Raises ValueError."""
    count, channels, height, width = pictures.shape
    if channels not in COLOUR_TYPES or not pictures.size:
        raise ValueError(f"{listed(pictures.shape[1:])} is no grey or RGB picture")
    # Each row begins with the number of its filter. None is the one for small pictures.
    lines = np.zeros((count, height, 1 + width * channels), np.uint8)
    lines[:, :, 1:] = pictures.transpose(0, 2, 3, 1).reshape(count, height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    begin, end = SIGNATURE + chunk(HEADER, header), chunk(END, b"")
    content = lines.reshape(count, -1)
    if content.shape[1] <= STORED:
        zipped = iter([_stored(content)])
    else:
        zipped = ([rows_of([zlib.compress(picture.data)])] for picture in content)
    return (with_chunk(begin, DATA, parts, end) for parts in zipped)


def _stored(contents: Rows) -> list[bytes | Rows]:
    """The parts of contents of at most 65,535 bytes as zlib holds them at level 0."""
    size = contents.shape[1]
    begin = struct.pack("<3sHH", b"\x78\x01\x01", size, size ^ 0xFFFF)
    return [begin, contents, each(adler32, contents)]


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk: its length, kind, content and checksum."""
    body = kind + content
    return len(content).to_bytes(4, "big") + body + crc32(body).to_bytes(4, "big")


def with_chunk(
    before: bytes | Rows, kind: bytes, parts: Sequence[bytes | Rows], after: bytes | Rows
) -> Rows:
    """Files with a chunk, of the contents that the parts add up to, between what stands before and
    after it."""
    size, start = sum(map(_width, parts)), _width(before) + 4
    made = beside(before, size.to_bytes(4, "big"), kind, *parts, bytes(4), after)
    stop = start + 4 + size
    made[:, stop : stop + 4] = each(crc32, made[:, start:stop])
    return made


def _width(part: bytes | Rows) -> int:
    return len(part) if isinstance(part, bytes) else part.shape[1]


def chunks(files: Rows) -> Iterator[tuple[bytes, Rows]]:
    """Kind and contents of each chunk of files whose chunks are of the same sizes, the checksums
    of all of which must hold. Raises ValueError, also where a file does not begin, or does not end,
    as a PNG file does."""
    for start, kind, body in laid_out(files):
        stop = start + 4 + body.shape[1]
        if (each(crc32, body) != files[:, stop : stop + 4]).any():
            raise ValueError(f"the chunk at byte {start} does not match its checksum")
        yield kind, body[:, 4:]


def laid_out(files: Rows) -> Iterator[tuple[int, bytes, Rows]]:
    """Where each chunk of such files begins, its kind, and what its checksum is of, kind and
    contents; whether that holds is not looked at. Raises ValueError."""
    begin = shared(files[:, : len(SIGNATURE) + 8])
    if not (begin.startswith(SIGNATURE) and begin.endswith(HEADER)):
        raise ValueError("it does not begin as a PNG file")
    start, kind, whole = len(SIGNATURE), b"", files.shape[1]
    while kind != END:
        if start + 12 > whole:
            raise ValueError("it ends before its last chunk")
        size, kind = _BEGINNING(shared(files[:, start : start + 8]))
        stop = start + 8 + size
        if stop + 4 > whole:
            raise ValueError(f"the chunk at byte {start} is longer than the file")
        yield start, kind, files[:, start + 4 : stop]
        start = stop + 4
    if start != whole:
        raise ValueError("it goes on after its last chunk")
