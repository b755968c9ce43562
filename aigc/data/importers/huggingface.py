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
from typing import Any, TypeVar

import pyarrow as pa

from aigc.data.cleaning import Rejected
from aigc.data.importers.contract import Options, Part, Raw, lost
from aigc.data.importers.folders import existing, printable, regular, size_of, whole_file
from aigc.data.importers.tables import label_of, raw_of, require_columns, rows_of, validated
from aigc.errors import ImportRefused, first_line

Kind = TypeVar("Kind", dict[str, Any], list[Any])

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
        features = _field(root / folders[0] / "dataset_info.json", "features", dict)
        is_text = options.length is not None
        column = options.column or _only(features, "Value" if is_text else "Image", "--column")
        classes = [name for name in features if _is_class(features[name])]
        label = options.label or (classes[0] if len(classes) == 1 and not is_text else None)
        for name in (column, label):
            if name is not None and name not in features:
                raise ImportRefused(f"{root} has no column {name!r}", f"It has: {_named(features)}")
        names = _class_names(root, label, features[label]) if label else ()
        files = [
            f"{folder}/{file}" if folder else file
            for folder in folders
            for file in _files(root / folder)
        ]
        return cls(root, tuple(files), column, label, names, is_text)

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
        (file,), row = part.files, 0
        columns = [self.column, *([self.label] if self.label else [])]
        path = regular(self.root / file)
        with pa.OSFile(str(path)) as opened, pa.ipc.open_stream(opened) as stream:
            require_columns(columns, stream.schema.names, path)
            for batch in stream:
                try:
                    validated(batch)
                except pa.ArrowException as error:
                    yield Raw(f"{printable(file)}:{row}", lost(batch.num_rows, error))
                else:
                    for origin, cell, label in rows_of(batch, columns, printable(file), row):
                        yield raw_of(path, origin, cell, self._name(label), self.is_text)
                row += batch.num_rows

    def _name(self, label: Any) -> Any:
        """The name of a class number, or a name that is stored as such; all others, as −1, are no
        label."""
        if label in range(len(self.names)):
            return self.names[int(label)]
        return label if not self.names or label in self.names else None


def _folders(root: Path) -> list[str]:
    if not (root / "dataset_dict.json").exists():
        return [""]
    splits = _field(root / "dataset_dict.json", "splits", list)
    if not splits:
        raise ImportRefused(f"{root / 'dataset_dict.json'} names no splits", ADVICE)
    return [_inside(root, split) for split in splits]


def _files(folder: Path) -> list[str]:
    listed = _field(folder / "state.json", "_data_files", list)
    names = [file.get("filename") if isinstance(file, dict) else None for file in listed]
    return [_inside(folder, name) for name in names]


def _inside(folder: Path, name: object) -> str:
    """A plain name in `folder`. Raises ImportRefused."""
    if (
        not isinstance(name, str)
        or name in ("", "..")
        or PurePosixPath(name).name != name
        or not name.isprintable()
    ):
        raise ImportRefused(f"{folder} names {name!r}, which is nothing that lies in it", ADVICE)
    return name


def _class_names(root: Path, label: str, feature: Any) -> tuple[str, ...]:
    """The names of the classes, () for labels of another kind. Raises ImportRefused."""
    listed = (feature.get("names") or []) if _is_class(feature) else []
    names = [label_of(name) for name in listed] if isinstance(listed, list) else [None]
    found = tuple(name for name in names if isinstance(name, str))
    if len(set(found)) != len(names):
        raise ImportRefused(
            f"{root}: the classes of column {label!r} are no names that differ", ADVICE
        )
    return found


def _field(path: Path, name: str, kind: type[Kind]) -> Kind:
    """A field of a JSON object, empty if it is not there. Raises ImportRefused."""
    found = _json(path).get(name) or kind()
    if not isinstance(found, kind):
        raise ImportRefused(
            f"{path}: {name!r} is a {type(found).__name__}, not a {kind.__name__}", ADVICE
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(whole_file(path))
    except (Rejected, ValueError, RecursionError) as error:
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
