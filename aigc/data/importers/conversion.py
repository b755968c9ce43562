"""The first stage of an import: each part of the source becomes a file of stored records, or of
rejected ones, and a few numbers about each record.

The result is a function of the part alone, wherever it is computed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from aigc.data.cleaning import SIGNATURES, Bytes, Rejected
from aigc.data.files import unwritable
from aigc.data.importers.contract import UNREADABLE, Importer, Part, Raw
from aigc.data.importers.documents import stored_texts
from aigc.data.importers.folders import printable
from aigc.data.importers.pixels import stored_image
from aigc.errors import first_line
from aigc.layout import Layout
from aigc.modalities import modality

CHUNK_BYTES = 32 * 2**20
CHUNK_RECORDS = 1024
"""What is held in memory of the records of a part."""

ORIGIN = pa.field("origin", pa.string(), nullable=False)
REJECTED = pa.schema(
    [
        ORIGIN,
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("raw", pa.large_binary()),
    ]
)
"""The quarantine's columns: where a record was found, why it is not in the dataset, its bytes."""


@dataclass(frozen=True)
class Found:
    """One record of a part: stored, uint8 (*shape), or the reason against it and its raw bytes."""

    origin: str
    label: str | Rejected | None
    raw: bytes | None
    stored: Bytes | Rejected


@dataclass(frozen=True)
class Converted:
    """What is known of a part's n stored records, and how many were rejected for which reason.

    `hashes` are SHA-256 of the stored bytes, uint8 (n, 32); `signatures` uint8 (n, bands, bytes);
    `labels` int32 (n,), numbers in `names`. `rejected_sha256` covers what was rejected and why.
    """

    number: int
    hashes: Bytes
    signatures: Bytes
    labels: NDArray[np.int32]
    names: tuple[str, ...]
    rejected: dict[str, int]
    rejected_sha256: str
    first_rejected: str

    @property
    def records(self) -> int:
        """Stored records."""
        return len(self.hashes)


@dataclass(frozen=True)
class Conversion:
    """How every part is converted. Plain data: it travels between processes.

    The files go into `scratch`, which must be the same folder wherever this runs.
    """

    importer: Importer
    layout: Layout
    resize: bool
    scratch: Path

    def __call__(self, numbered: tuple[int, Part]) -> Converted:
        """Convert one part. Raises WorkspaceUnwritable, and ImportRefused of the importer."""
        number, part = numbered
        summary = _Summary(self.layout)
        try:
            with ExitStack() as stack:
                kept = stack.enter_context(
                    pa.RecordBatchFileWriter(kept_path(self.scratch, number), _kept(self.layout))
                )
                rejected = stack.enter_context(
                    pa.RecordBatchFileWriter(rejected_path(self.scratch, number), REJECTED)
                )
                for chunk in chunks(self.found(part)):
                    kept.write_batch(summary.keep([f for f in chunk if not _is_rejected(f)]))
                    rejected.write_batch(summary.reject([f for f in chunk if _is_rejected(f)]))
        except OSError as error:
            raise unwritable(self.scratch, error) from error
        return summary.converted(number)

    def found(self, part: Part) -> Iterator[Found]:
        """The records of a part, each judged by itself."""
        for raw in readable(self.importer, part):
            for origin, content, stored in self._stored(raw):
                yield Found(origin, raw.label, content, self._judged(stored, raw.label))

    def _stored(self, raw: Raw) -> Iterator[tuple[str, bytes | None, Bytes | Rejected]]:
        """Where each record of a raw one was found, its bytes there, and what is stored of it."""
        if isinstance(raw.value, Rejected):
            yield raw.origin, None, raw.value
        elif self.layout.modality == "text":
            for start, piece, stored in stored_texts(raw.value, self.layout.size):
                yield f"{raw.origin}:{raw.start + start}", piece, stored
        else:
            content = _bytes_of(raw.value)
            try:
                yield raw.origin, content, stored_image(raw.value, self.layout.shape, self.resize)
            except Rejected as rejected:
                yield raw.origin, content, rejected

    def _judged(self, stored: Bytes | Rejected, label: str | Rejected | None) -> Bytes | Rejected:
        if isinstance(stored, Rejected):
            return stored
        if isinstance(label, Rejected):
            return label
        names = self.importer.labels
        if names != () and label is None:
            return Rejected("no label")
        # A copy, because torch warns about memory that it might not write to.
        if modality(self.layout.modality).is_blank(torch.tensor(stored)[None]).item():
            return Rejected("blank")
        return stored


class _Summary:
    """What is known of the records of a part, gathered chunk by chunk."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._hashes, self._signatures = list[bytes](), list[Bytes]()
        self._labels, self._names = list[int](), dict[str, int]()
        self._rejected, self._digest = Counter[str](), hashlib.sha256()
        self._first_rejected = ""

    def keep(self, found: list[Found]) -> pa.RecordBatch:
        """Remember stored records, and return them as they are written."""
        stored = np.array([each.stored for each in found], dtype=np.uint8)
        stored = stored.reshape(len(found), *self._layout.shape)
        self._hashes += [hashlib.sha256(record.tobytes()).digest() for record in stored]
        if found:
            self._signatures.append(SIGNATURES[self._layout.modality].of(stored))
        for each in found:
            if isinstance(each.label, str):
                self._labels.append(self._names.setdefault(each.label, len(self._names)))
        column = modality(self._layout.modality).to_column(torch.from_numpy(stored))
        origins = pa.array([each.origin for each in found], pa.string())
        return pa.RecordBatch.from_arrays([column, origins], schema=_kept(self._layout))

    def reject(self, found: list[Found]) -> pa.RecordBatch:
        """Remember rejected records, and return them as they are written."""
        rows = list[dict[str, Any]]()
        for each in found:
            why = each.stored
            assert isinstance(why, Rejected)
            self._rejected[why.reason] += why.count
            self._first_rejected = self._first_rejected or f"{each.origin}: {why}"
            raw_sha256 = hashlib.sha256(each.raw or b"").hexdigest()
            # Not the detail: those are words of a library, which others may choose tomorrow.
            self._digest.update(f"{why.reason}\0{why.count}\0{raw_sha256}\0".encode())
            row = (each.origin, why.reason, why.detail, each.raw)
            rows.append(dict(zip(REJECTED.names, row, strict=True)))
        return pa.RecordBatch.from_pylist(rows, schema=REJECTED)

    def converted(self, number: int) -> Converted:
        """All of it, as the result of part `number`."""
        hashes = np.frombuffer(b"".join(self._hashes), np.uint8).reshape(-1, 32)
        shape = SIGNATURES[self._layout.modality].shape
        return Converted(
            number,
            hashes,
            np.concatenate([np.empty((0, *shape), np.uint8), *self._signatures]),
            np.array(self._labels, dtype=np.int32),
            tuple(self._names),
            dict(self._rejected),
            self._digest.hexdigest(),
            self._first_rejected,
        )


def readable(importer: Importer, part: Part) -> Iterator[Raw]:
    """The raw records of a part, as far as it can be read, and then why it cannot."""
    where = printable(part.files[0]) if part.files else importer.origin
    try:
        yield from importer.read(part)
    except Rejected as rejected:
        yield Raw(where, rejected)
    except UNREADABLE as error:
        yield Raw(where, Rejected("unreadable", first_line(error)))


def chunks(found: Iterator[Found]) -> Iterator[list[Found]]:
    """Records in their order, as many at once as memory is meant for."""
    chunk, size = list[Found](), 0
    for each in found:
        chunk.append(each)
        size += len(each.raw or b"")
        size += 0 if isinstance(each.stored, Rejected) else each.stored.nbytes
        if len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def kept_path(scratch: Path, number: int) -> Path:
    """The Arrow file of a part's stored records: content and origin."""
    return scratch / f"{number:06d}.kept.arrow"


def rejected_path(scratch: Path, number: int) -> Path:
    """The Arrow file of a part's rejected records."""
    return scratch / f"{number:06d}.rejected.arrow"


def _kept(layout: Layout) -> pa.Schema:
    return pa.schema([("content", modality(layout.modality).column_type(layout)), ORIGIN])


def _is_rejected(found: Found) -> bool:
    return isinstance(found.stored, Rejected)


def _bytes_of(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return (
        value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode("utf-8", "replace")
    )
