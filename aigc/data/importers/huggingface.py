"""Folders that `save_to_disk` of Hugging Face's datasets wrote, read without that package.

dataset_dict.json   the names of the splits, each a folder; missing when there is one dataset
state.json          the Arrow stream files, in order
dataset_info.json   the features: which column is an image, which a class
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from aigc.data.importers.contract import Options, Part, Raw
from aigc.data.importers.folders import existing, printable, size_of
from aigc.data.importers.tables import raw_of, rows_of
from aigc.errors import ImportRefused, first_line

ADVICE = "Give the folder that save_to_disk wrote"


@dataclass(frozen=True)
class SavedDataset:
    """The files of a dataset on disk; splits are joined, and split anew by content.

    `names` are those of a column of class numbers, and empty for labels of another kind.
    """

    root: Path
    files: tuple[str, ...]
    column: str
    label: str | None
    names: tuple[str, ...]
    is_text: bool

    @classmethod
    def at(cls, path: Path | None, options: Options) -> SavedDataset:
        """The dataset in the folder `path`. Raises ImportRefused."""
        root = existing(path, "a dataset on disk")
        folders = _folders(root)
        features = _json(root / folders[0] / "dataset_info.json").get("features") or {}
        is_text = options.length is not None
        column = options.column or _only(features, "Value" if is_text else "Image", "--column")
        classes = [name for name in features if _is_class(features[name])]
        label = options.label or (classes[0] if len(classes) == 1 and not is_text else None)
        for name in (column, label):
            if name is not None and name not in features:
                raise ImportRefused(f"{root} has no column {name!r}", f"It has: {_named(features)}")
        names = features[label].get("names", ()) if label and _is_class(features[label]) else ()
        files = [
            f"{folder}/{file}" if folder else file
            for folder in folders
            for file in _files(root / folder)
        ]
        return cls(root, tuple(files), column, label, tuple(map(str, names)), is_text)

    @property
    def origin(self) -> str:
        """The folder."""
        return printable(str(self.root))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, as the features list them."""
        if self.label is None:
            return ()
        return self.names or None

    def parts(self) -> list[Part]:
        """Each file: an Arrow stream can only be read from its beginning."""
        return [Part((file,), bytes=size_of(self.root / file)) for file in self.files]

    def read(self, part: Part) -> Iterator[Raw]:
        """The rows of a file."""
        (file,) = part.files
        columns, row = [self.column, *([self.label] if self.label else [])], 0
        with pa.OSFile(str(self.root / file)) as opened, pa.ipc.open_stream(opened) as stream:
            for batch in stream:
                for origin, cell, label in rows_of(batch, columns, printable(file), row):
                    yield raw_of(self.root / file, origin, cell, self._name(label), self.is_text)
                row += batch.num_rows

    def _name(self, label: Any) -> Any:
        """The name of a class number; −1 and others without a name are no label."""
        if not self.names:
            return label
        return self.names[label] if label is not None and 0 <= label < len(self.names) else None


def _folders(root: Path) -> list[str]:
    if not (root / "dataset_dict.json").exists():
        return [""]
    splits = _json(root / "dataset_dict.json").get("splits") or []
    if not splits:
        raise ImportRefused(f"{root / 'dataset_dict.json'} names no splits", ADVICE)
    return [_inside(root, split) for split in splits]


def _files(folder: Path) -> list[str]:
    listed = _json(folder / "state.json").get("_data_files") or []
    return [_inside(folder, file.get("filename")) for file in listed]


def _inside(folder: Path, name: object) -> str:
    """A plain name in `folder`. Raises ImportRefused."""
    if not isinstance(name, str) or name in ("", ".", "..") or PurePosixPath(name).name != name:
        raise ImportRefused(f"{folder} names {name!r}, which lies elsewhere", ADVICE)
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImportRefused(f"cannot read {path}: {first_line(error)}", ADVICE) from error
    if not isinstance(found, dict):
        raise ImportRefused(f"{path} is no JSON object", ADVICE)
    return found


def _only(features: dict[str, Any], kind: str, option: str) -> str:
    found = [name for name, each in features.items() if _kind(each) == kind]
    if len(found) != 1:
        raise ImportRefused(
            f"{len(found)} of the columns {_named(features)} are of the kind {kind}",
            f"Choose one with {option}",
        )
    return found[0]


def _is_class(feature: Any) -> bool:
    return _kind(feature) == "ClassLabel"


def _kind(feature: Any) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _named(features: dict[str, Any]) -> str:
    return ", ".join(features)
