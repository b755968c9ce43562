"""IDX, the format of MNIST: a magic number, the dimensions, and the bytes; gzipped or not.

http://yann.lecun.com/exdb/mnist describes it: two zero bytes, the type of the numbers, how many
dimensions, and each dimension in four bytes, the largest first.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from aigc.data.cleaning import Bytes, Rejected
from aigc.data.importers.contract import UNREADABLE, Options, Part, Raw, lost
from aigc.data.importers.folders import (
    LARGEST_FILE,
    existing,
    folder_and_files,
    is_hidden,
    printable,
    ranges,
    regular,
)
from aigc.data.importers.labels import class_names
from aigc.errors import ImportRefused, first_line

UNSIGNED_BYTE = 8
NAMED = re.compile(r"idx[1-4]?([-.]u?byte)?(\.gz)?$", re.IGNORECASE)
"""How the names of the files end, as train-images-idx3-ubyte.gz."""


@dataclass(frozen=True)
class Idx:
    """Files of images, and of labels where there are any, matched by their names.

    Training and test files, if both are there, become one dataset, which is split anew.
    """

    root: Path
    labels_of: dict[str, str]
    labels: tuple[str, ...]

    @classmethod
    def at(cls, path: Path | None, options: Options) -> Idx:
        """The IDX files of a folder, others left alone, or one file and its labels.

        Raises ImportRefused.
        """
        asked = existing(path, "an IDX file or a folder of them")
        root, _ = folder_and_files(asked)
        files = [file for file in sorted(root.iterdir()) if file == asked or _is_idx(file)]
        dimensions = {file.name: header(file) for file in files}
        images = [name for name, shape in dimensions.items() if len(shape) > 1]
        labels = {_key(name): name for name, shape in dimensions.items() if len(shape) == 1}
        chosen = [name for name in images if asked.is_dir() or name == asked.name]
        if not chosen:
            raise ImportRefused(
                f"there are no IDX images in {asked}",
                "Give another path; the names of the files end in idx3-ubyte or idx, or .gz after",
            )
        labels_of = {name: labels.get(_key(name), "") for name in chosen}
        _check_pairs(root, labels_of, dimensions)
        found = {str(label) for name in labels_of.values() if name for label in _all(root / name)}
        return cls(root, labels_of, class_names(found))

    @property
    def origin(self) -> str:
        """The folder."""
        return printable(str(self.root))

    def parts(self) -> list[Part]:
        """Ranges of the records of each file."""
        shapes = {name: header(self.root / name) for name in self.labels_of}
        return [
            part
            for name, shape in shapes.items()
            for part in ranges(name, shape[0], math.prod(shape[1:]))
        ]

    def read(self, part: Part) -> Iterator[Raw]:
        """The images of a range; where the file ends early, one rejection for all that are lost."""
        (name,), row, stop = part.files, part.start, part.stop or 0
        shape = header(self.root / name)[1:]
        labels_name = self.labels_of[name]
        labels = _all(self.root / labels_name) if labels_name else None
        try:
            for pixels in _records(self.root / name, shape, row, stop):
                label = None if labels is None or row >= len(labels) else str(labels[row])
                yield Raw(f"{printable(name)}:{row}", pixels, label)
                row += 1
        except UNREADABLE as error:
            yield Raw(f"{printable(name)}:{row}", lost(stop - row, error))


def header(path: Path) -> tuple[int, ...]:
    """The dimensions of an IDX file of bytes. Raises ImportRefused."""
    try:
        with _opened(path) as file:
            zeros, kind, count = struct.unpack(">HBB", file.read(4))
            if (zeros, kind) != (0, UNSIGNED_BYTE) or not 1 <= count <= 4:
                raise ImportRefused(f"{path} is no IDX file of bytes", "Restore or remove it")
            shape = struct.unpack(f">{count}I", file.read(4 * count))
    except (Rejected, struct.error, *UNREADABLE) as error:
        raise ImportRefused(
            f"{path} cannot be read as IDX: {first_line(error)}", "Restore or remove it"
        ) from error
    if not 0 < (pixels := math.prod(shape[1:])) <= LARGEST_FILE:
        raise ImportRefused(
            f"{path} says that its images have {pixels} pixels", "Restore or remove it"
        )
    return shape


def _records(path: Path, shape: tuple[int, ...], start: int, stop: int) -> Iterator[Bytes]:
    """The records `start` … `stop` of a file, each of `shape`. Raises one of UNREADABLE."""
    size = math.prod(shape)
    with _opened(path) as file:
        file.seek(4 + 4 * (1 + len(shape)) + start * size)
        for _ in range(start, stop):
            pixels = file.read(size)
            if len(pixels) < size:
                raise EOFError("the file ends early")
            yield np.frombuffer(pixels, np.uint8).reshape(shape)


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(regular(path)))
    return regular(path).open("rb")


def _is_idx(path: Path) -> bool:
    return bool(NAMED.search(path.name)) and not is_hidden(path.name) and not path.is_dir()


def _key(name: str) -> str:
    """What the names of images and of their labels have in common."""
    key = name.lower().removesuffix(".gz")
    for word in ("images", "labels", "idx1", "idx3", "idx4"):
        key = key.replace(word, "")
    return key


def _all(path: Path) -> Bytes:
    """The numbers of a file of labels."""
    try:
        with _opened(path) as file:
            return np.frombuffer(file.read(), np.uint8, offset=8)
    except (Rejected, *UNREADABLE) as error:
        raise ImportRefused(
            f"{path} cannot be read: {first_line(error)}", "Restore the file"
        ) from error


def _check_pairs(
    root: Path, labels_of: dict[str, str], dimensions: dict[str, tuple[int, ...]]
) -> None:
    """Raise ImportRefused unless all images have labels, or none, and as many."""
    without = [name for name, labels in labels_of.items() if not labels]
    if without and len(without) < len(labels_of):
        raise ImportRefused(
            f"{root / without[0]} has no labels, and other files have", "Add or import it alone"
        )
    for name, labels in labels_of.items():
        if labels and dimensions[labels][0] != dimensions[name][0]:
            raise ImportRefused(
                f"{root / name} has {dimensions[name][0]} images, and {labels} has "
                f"{dimensions[labels][0]} labels",
                "Restore the file that is not whole",
            )
