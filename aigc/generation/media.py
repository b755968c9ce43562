"""Media files of generated records, each with its label inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from aigc.errors import Unlabelled
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.label import Label
from aigc.generation.png_files import encode
from aigc.layout import Layout
from aigc.modalities.image_files import Pixels


@dataclass(frozen=True)
class MediaFile:
    """The file of one sample: its bytes, the suffix of its name, and the SHA-256 of the bytes."""

    content: bytes
    suffix: str
    sha256: str


def media_files(stored: Tensor, layout: Layout, labels: Iterable[Label]) -> Iterator[MediaFile]:
    """The file of each stored record (N, *shape), with the label of each written and read back.

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
    for record, label in zip(stored.numpy(), labels, strict=True):
        content = carrier.write(encoded(record), label)
        if carrier.read(content) != label:
            raise Unlabelled(
                f"the label of {label.produce_id} is not what its .{suffix} file says",
                "This is a mistake of the program: report it with the label",
            )
        yield MediaFile(content, suffix, hashlib.sha256(content).hexdigest())


def _text(record: Pixels) -> bytes:
    """A record of text without its padding; bytes that are no UTF-8 stay what they are."""
    return record.tobytes().rstrip(b"\0")


FORMATS: dict[str, tuple[str, Callable[[Pixels], bytes]]] = {
    "image": ("png", encode),
    "text": ("md", _text),
}
"""Of each modality, the suffix of its files and how a record becomes one."""
