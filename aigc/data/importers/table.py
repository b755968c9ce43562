"""Which importers there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from aigc.data.importers.bundled import DIGITS, MNIST_5K
from aigc.data.importers.contract import Importer, Options
from aigc.data.importers.documents import TextFiles
from aigc.data.importers.huggingface import SavedDataset
from aigc.data.importers.idx import Idx
from aigc.data.importers.images import ImageFolder
from aigc.data.importers.tables import opener
from aigc.errors import ImportRefused


class Entry(NamedTuple):
    """How a source is opened (raises ImportRefused), and which options mean something to it."""

    open: Callable[[Path | None, Options], Importer]
    options: tuple[str, ...] = ()


_IMAGE, _COLUMNS = ("shape", "resize"), ("column", "label", "length")

IMPORTERS: dict[str, Entry] = {
    "digits": Entry(DIGITS.at),
    "mnist-5k": Entry(MNIST_5K.at),
    "idx": Entry(Idx.at, _IMAGE),
    "images": Entry(ImageFolder.at, _IMAGE),
    "huggingface": Entry(SavedDataset.at, _IMAGE + _COLUMNS),
    "parquet": Entry(opener("parquet"), _IMAGE + _COLUMNS),
    "csv": Entry(opener("csv"), _IMAGE + _COLUMNS),
    "jsonl": Entry(opener("jsonl"), _IMAGE + _COLUMNS),
    "text": Entry(TextFiles.at, ("length",)),
}


def open_source(name: str, path: Path | None, options: Options) -> Importer:
    """The source at `path` as the importer of that name reads it. Raises ImportRefused."""
    if name not in IMPORTERS:
        raise ImportRefused(
            f"there is no importer {name!r}", f"The importers are: {', '.join(IMPORTERS)}"
        )
    entry = IMPORTERS[name]
    for field in fields(options):
        is_given = getattr(options, field.name) != field.default
        if is_given and field.name not in entry.options:
            raise ImportRefused(f"{name} has no use for --{field.name}", "Leave it out")
    return entry.open(path, options)
