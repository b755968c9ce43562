"""Media files of generated records, each with its label inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from aigc.errors import Unlabelled
from aigc.generation.byte_rows import Rows, rows_of
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.contract import expressions
from aigc.generation.labels.label import Label
from aigc.generation.png_files import encode_all
from aigc.layout import Layout
from aigc.modalities.image_files import Pixels
from aigc.seeding import Integers

Encode = Callable[[Pixels], Iterator[Rows]]

AT_ONCE = 500
"""Files, at most, that are made at once: as rows of an array, which the processor's cache holds."""


class MediaFile(NamedTuple):
    """The file of one sample: its bytes, the suffix of its name, and the SHA-256 of the bytes."""

    content: bytes
    suffix: str
    sha256: str


def media_files(
    stored: Tensor, layout: Layout, label: Label, samples: Sequence[int] | Integers
) -> Iterator[MediaFile]:
    """The file of each stored record (N, *shape), as `labelled` gives it. Raises Unlabelled."""
    for files in labelled(stored, layout, label, samples):
        for file in files:
            suffix, _ = FORMATS[layout.modality]
            yield MediaFile(file.tobytes(), suffix, hashlib.sha256(file).hexdigest())


def labelled(
    stored: Tensor, layout: Layout, label: Label, samples: Sequence[int] | Integers
) -> Iterator[Rows]:
    """The files of the stored records (N, *shape), in their order; those of one length that follow
    one another at once. The label of each is written and read back.

    `label` is the dataset's, `samples` are the ids of the records. A parser reads the first label;
    the others must be the same bytes but for the id.

    Nothing is lost, and the same record and label give the same bytes. Raises Unlabelled when the
    kind of content has no place for a label, or the label is not what is read back.
    """
    if layout.modality not in FORMATS:
        raise Unlabelled(
            f"no format of media files for {layout.modality} carries a label",
            "Generate image or text, or publish the dataset without media files",
        )
    suffix, encode = FORMATS[layout.modality]
    carrier, records, ids = CARRIERS[suffix], stored.numpy(), np.asarray(samples, np.int64)
    own, is_understood = expressions(carrier, label), False
    for rows in _at_once(len(records), ids):
        mine, expressed = ids[rows], own(ids[rows])
        for files in encode(records[rows]):
            said, expressed = expressed[: len(files)], expressed[len(files) :]
            contents = carrier.put(files, said)
            found = carrier.found(contents)
            if not is_understood:
                first = carrier.understood(found[0].tobytes())
                is_understood = first == label.of_sample(int(mine[0]))
            if not is_understood or found.shape != said.shape or (found != said).any():
                pairs = zip(mine[: len(files)], found, said, strict=True)
                wrong = (sample for sample, *pair in pairs if not np.array_equal(*pair))
                raise _not_read_back(label.of_sample(int(next(wrong, mine[0]))), suffix)
            yield contents
            mine = mine[len(files) :]


def _not_read_back(label: Label, suffix: str) -> Unlabelled:
    return Unlabelled(
        f"the label of {label.produce_id} is not what its .{suffix} file says",
        "This is a mistake of the program: report it with the label",
    )


def _at_once(records: int, samples: Integers) -> Iterator[slice]:
    """Which files are made at once: only those whose ids have as many digits.

    Raises ValueError unless each record has an id.
    """
    if records != len(samples):
        raise ValueError(f"{records} records cannot have {len(samples)} ids")
    digits = np.searchsorted(10 ** np.arange(1, 19), samples, side="right")
    start = 0
    while start < len(digits):
        alike = digits[start : start + AT_ONCE]
        stop = start + (int(np.argmax(alike != alike[0])) or len(alike))
        yield slice(start, stop)
        start = stop


def _texts(records: Pixels) -> Iterator[Rows]:
    """Records of text without their padding; bytes that are no UTF-8 stay what they are."""
    return (rows_of([record.tobytes().rstrip(b"\0")]) for record in records)


FORMATS: dict[str, tuple[str, Encode]] = {
    "image": ("png", encode_all),
    "text": ("md", _texts),
}
"""Of each modality, the suffix of its files and how records become files."""
