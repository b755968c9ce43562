"""Media files of generated records, each with its label inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from aigc.errors import Unlabelled
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.contract import expressions
from aigc.generation.labels.label import Label
from aigc.generation.png_files import encode_all
from aigc.layout import Layout
from aigc.modalities.image_files import Pixels


class MediaFile(NamedTuple):
    """The file of one sample: its bytes, the suffix of its name, and the SHA-256 of the bytes."""

    content: bytes
    suffix: str
    sha256: str


def media_files(
    stored: Tensor, layout: Layout, label: Label, samples: Sequence[int]
) -> Iterator[MediaFile]:
    """The file of each stored record (N, *shape), with the label of each written and read back.

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
    suffix, encoded = FORMATS[layout.modality]
    carrier = CARRIERS[suffix]
    own = expressions(carrier, label, samples)
    is_understood = False
    for record, sample, expressed in zip(encoded(stored.numpy()), samples, own, strict=True):
        content = carrier.put(record, expressed)
        found = carrier.found(content)
        is_understood = is_understood or carrier.understood(found) == label.of_sample(sample)
        if found != expressed or not is_understood:
            raise Unlabelled(
                f"the label of {label.produce_id}/{sample} is not what its .{suffix} file says",
                "This is a mistake of the program: report it with the label",
            )
        yield MediaFile(content, suffix, hashlib.sha256(content).hexdigest())


def _texts(records: Pixels) -> Iterator[bytes]:
    """Records of text without their padding; bytes that are no UTF-8 stay what they are."""
    return (record.tobytes().rstrip(b"\0") for record in records)


FORMATS: dict[str, tuple[str, Callable[[Pixels], Iterator[bytes]]]] = {
    "image": ("png", encode_all),
    "text": ("md", _texts),
}
"""Of each modality, the suffix of its files and how records become files."""
