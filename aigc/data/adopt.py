"""Adopting files that are there already: little of them is read, and only a manifest is written."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from aigc.data.catalog import Dataset, find, publish
from aigc.data.files import digest_of
from aigc.data.footers import PARQUET, Ending, read_ending
from aigc.data.manifest import MANIFEST, NAME, Manifest, Shard
from aigc.data.reader import ShardReader
from aigc.data.shards import LABEL
from aigc.data.storage import PLACE, Location
from aigc.errors import FactoryError, ImportRefused, ShardCorrupt, first_line
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.modalities.image import can_hold_images, shape_of

if TYPE_CHECKING:
    from aigc.data.importers.importing import Map

Input = TypeVar("Input")
Output = TypeVar("Output")

SUFFIXES = (PARQUET, ".arrow", ".feather", ".ipc")
CHANNELS = (1, 3)
MAX_CLASSES = 10_000
THREADS = 8
"""Files that are read at once; of what is far away, nearly all of the time is waiting."""
SPLITS = {"train": "train", "test": "test", "valid": "validation", "validation": "validation"}
SPLITS |= {"val": "validation", "dev": "validation"}
"""The split of a file by the first word of its path that is one of these; train by default."""


@dataclass(frozen=True)
class Description:
    """What footers do not say of a record: its columns, its shape, the names of its classes."""

    column: str | None = None
    label: str | None = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()


class _File(NamedTuple):
    """A file that becomes a shard, and what its end says."""

    shard: Shard
    ending: Ending


def in_threads(function: Callable[[Input], Output], inputs: Sequence[Input], /) -> Iterator[Output]:
    """`function` of each input, in their order, some of them at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(function, inputs)


def adopt(
    root: Path,
    source: str,
    name: str,
    description: Description = Description(),
    map: Map = in_threads,
) -> tuple[Dataset, bool]:
    """The dataset NAME of the Parquet and Arrow IPC files in `source`, a folder or a URI; and
    whether it was made just now. Files without a record are left out.

    Nothing is copied. Of the files, the footers are read; the first image, where neither the
    description nor the column's type says its shape; and all labels, where neither the description
    nor the schema says the names of the classes. `map` does the work of all files. Raises
    ImportRefused, StorageUnavailable.
    """
    if not re.fullmatch(NAME, name):
        raise ImportRefused(
            f"{name!r} cannot be a dataset's name",
            "Give as --name up to 40 of a-z, 0-9 and -, the first no -",
        )
    location = Location(_uri(source))
    found = sorted(map(partial(_file, location), _files(location)), key=lambda f: f.shard.path)
    files = [file for file in found if file.shard.records]
    if not files:
        raise ImportRefused(f"the files in {location} hold no record", "Check the folder's name")
    names, layout = _described(location, files, description, map)
    schema = files[0].ending.schema
    manifest = Manifest(
        name=name,
        version="unnamed",
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        layout=layout,
        columns={column: str(schema.field(column).type) for column in names.values()},
        column_names={ours: theirs for ours, theirs in names.items() if ours != theirs},
        shards=tuple(file.shard for file in files),
        source={"adopted": location.uri},
        location=location.uri,
    )
    version = digest_of([location.uri, manifest.content_digest()])[:12]
    if (root / name / version / MANIFEST).exists():
        return find(root, f"{name}@{version}"), False
    manifest = manifest.model_copy(update={"version": version})
    return publish(root / name / version, manifest), True


def _uri(source: str) -> str:
    is_uri = "://" in source
    if is_uri and not Location(source).is_local:
        if Location(source).may_hold_secrets:
            raise ImportRefused(
                "the URI says more than where the files lie, and a manifest shows it to everyone",
                "Put credentials into the environment, as AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY; the query may hold {', '.join(PLACE)}",
            )
        return source.rstrip("/")
    folder = Location(source).folder if is_uri else Path(source).expanduser()
    folder = Path(os.path.abspath(folder))
    _require_text(str(folder))
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is no folder", "Give a folder of Parquet files, or a URI")
    return folder.as_uri()


def _files(location: Location) -> list[str]:
    """The paths of the shards; what begins with a dot or an underscore is none."""
    try:
        found = location.files()
    except FileNotFoundError as error:
        raise ImportRefused(f"there is no {location}", "Check the folder's name") from error
    paths = [path for path in found if path.endswith(SUFFIXES) and not _is_hidden(path)]
    if not paths:
        raise ImportRefused(
            f"there is no Parquet or Arrow IPC file in {location}",
            f"Files must be called *{', *'.join(SUFFIXES)}; links to folders are not followed",
        )
    for path in paths:
        _require_text(f"{location}/{path}")
    return paths


def _require_text(path: str) -> None:
    """A manifest is UTF-8; a path of this machine can be any bytes."""
    if (shown := os.fsencode(path).decode("utf-8", "backslashreplace")) != path:
        raise ImportRefused(f"the path {shown} is not UTF-8", "Rename the file or the folder")


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)


def _file(location: Location, path: str) -> _File:
    try:
        with location.open(path) as file:
            ending = read_ending(file, path)
    except FactoryError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ImportRefused(
            f"cannot read the footer of {location}/{path}: {first_line(error)}",
            "Restore the file, or move it out of the folder",
        ) from error
    shard = Shard(
        path=path,
        split=_split(path),
        row_groups=ending.row_groups,
        bytes=ending.bytes,
        footer=ending.footer,
    )
    return _File(shard, ending)


def _split(path: str) -> str:
    words = re.split(r"[^a-z]+", path.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), "train")


def _described(
    location: Location, files: list[_File], description: Description, map: Map
) -> tuple[dict[str, str], Layout]:
    """The files' names of the layout's columns, and the layout."""
    schema = files[0].ending.schema
    own = _own_layout(schema) if description == Description() else None
    if own is not None:
        content = modality(own.modality).column_name
        names = {content: content} | ({LABEL: LABEL} if own.labels else {})
        _require_same(location, files, names.values())
        return names, own
    column, label = _content(schema, description), _label(schema, description)
    names = {"image": column} | ({LABEL: label} if label else {})
    _require_same(location, files, names.values())
    shape = _shape(location, files[0], column, description)
    labels = _classes(location, files, label, description, map) if label else ()
    return names, Layout(modality="image", shape=shape, labels=labels)


def _own_layout(schema: pa.Schema) -> Layout | None:
    """What shards of our own say of themselves."""
    try:
        return Layout.model_validate_json(schema.metadata[b"layout"])
    except (KeyError, TypeError, ValidationError):
        return None


def _content(schema: pa.Schema, description: Description) -> str:
    """The column that holds the images: the one that is asked for, or the only one that can."""
    candidates: list[str] = [field.name for field in schema if can_hold_images(field.type)]
    if description.column is not None:
        candidates = [name for name in candidates if name == description.column]
    if len(candidates) != 1:
        asked = f"column {description.column!r}" if description.column else "exactly one column"
        raise ImportRefused(
            f"{asked} of images is needed; the columns are {_columns(schema)}",
            "Name it with --column; images are fixed_size_binary, lists or tensors of uint8 of a "
            "fixed size, binary, or struct<bytes, …>",
        )
    return candidates[0]


def _label(schema: pa.Schema, description: Description) -> str | None:
    name = description.label or (LABEL if LABEL in schema.names else None)
    if name is None:
        return None
    if schema.names.count(name) != 1 or not pa.types.is_integer(schema.field(name).type):
        raise ImportRefused(
            f"column {name!r} holds no integer labels; the columns are {_columns(schema)}",
            "Name another one with --label, or import the files: aigc data import parquet",
        )
    return name


def _shape(
    location: Location, file: _File, column: str, description: Description
) -> tuple[int, ...]:
    """(channels, height, width): as described, as the column's type says, or as the first image."""
    kind = file.ending.schema.field(column).type
    said, size = _tensor_shape(column, kind), _size(kind)
    shape = description.shape or said
    if shape is None and size is None:
        shape = _first_shape(location, file, column)
    if shape is None:
        raise ImportRefused(
            f"column {column!r} is {kind}, which does not say what shape an image has",
            "Give --shape CHANNELS,HEIGHT,WIDTH",
        )
    is_image = len(shape) == 3 and shape[0] in CHANNELS and min(shape) > 0
    if not is_image or said not in (None, shape) or size not in (None, math.prod(shape)):
        raise ImportRefused(
            f"column {column!r} is {kind}, which cannot be images of {'×'.join(map(str, shape))}",
            "Give their --shape CHANNELS,HEIGHT,WIDTH, of 1 or 3 channels; what is stored in "
            "another order must be rewritten, the channels first",
        )
    return shape


def _tensor_shape(column: str, kind: pa.DataType) -> tuple[int, ...] | None:
    """The shape that a column of tensors says, if they have two or three axes."""
    if not isinstance(kind, pa.FixedShapeTensorType):
        return None
    axes = "".join(name[:1].lower() for name in kind.dim_names or ())
    is_permuted = kind.permutation not in (None, [*range(len(kind.shape))])
    if not "chw".endswith(axes) or (is_permuted and not axes):
        raise ImportRefused(
            f"column {column!r} is {kind}, whose axes are not channels, height, width",
            "Rewrite it in that order, the channels first",
        )
    return (1,) * (3 - len(kind.shape)) + tuple(kind.shape) if len(kind.shape) in (2, 3) else None


def _size(kind: pa.DataType) -> int | None:
    """The bytes of a value in a column of raw pixels; None for one of image files."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return int(math.prod(kind.shape))
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    return int(kind.byte_width) if pa.types.is_fixed_size_binary(kind) else None


def _first_shape(location: Location, file: _File, column: str) -> tuple[int, ...]:
    """The shape of a shard's first image."""
    types = {column: str(file.ending.schema.field(column).type)}
    group = next(group for group, rows in enumerate(file.shard.row_groups) if rows)
    with _for_the_first_time(), closing(ShardReader(location, file.shard, types)) as reader:
        try:
            return shape_of(next(reader.read(group, 1)).column(0))
        except ValueError as error:
            raise ImportRefused(
                f"column {column!r} of {location}/{file.shard.path}: {error}",
                "Name the column of the images with --column",
            ) from error


@contextmanager
def _for_the_first_time() -> Iterator[None]:
    """Damage is reported as of files, since there is no dataset yet. Raises ImportRefused."""
    try:
        yield
    except ShardCorrupt as error:
        raise ImportRefused(
            error.what,
            "Mend the file, move it out of the folder, or import what is in order: "
            "aigc data import parquet",
        ) from error


def _classes(
    location: Location, files: list[_File], label: str, description: Description, map: Map
) -> tuple[str, ...]:
    """Names of classes: as described, as Hugging Face wrote them, or the numbers that occur, for
    which the column of labels is read."""
    if names := description.classes or _written_names(files, label):
        return names
    found = list(map(partial(_extremes, location, label), files))
    lowest, highest = min(low for low, _ in found), max(high for _, high in found)
    if lowest < 0 or highest >= MAX_CLASSES:
        raise ImportRefused(
            f"column {label!r} holds {lowest} … {highest}; labels are 0 … {MAX_CLASSES - 1}",
            "Give the names of all classes as --classes, or name another column with --label",
        )
    return tuple(str(number) for number in range(highest + 1))


def _extremes(location: Location, label: str, file: _File) -> tuple[int, int]:
    """The smallest and the largest label of a file. Its statistics would say it, but PyArrow ends
    the process on some that are damaged."""
    types = {label: str(file.ending.schema.field(label).type)}
    with _for_the_first_time(), closing(ShardReader(location, file.shard, types)) as reader:
        columns = [b.column(0) for g in file.shard.readable for b in reader.read(g)]
    extremes = pc.min_max(pa.chunked_array(columns))
    return extremes["min"].as_py(), extremes["max"].as_py()


def _written_names(files: list[_File], label: str) -> tuple[str, ...]:
    """The names of the classes that Hugging Face wrote into the schemas, if it did."""
    written = {_names_in(file.ending.schema, label) for file in files}
    if len(written) > 1:
        raise ImportRefused(
            f"the files do not agree on the names of the classes in column {label!r}",
            "Adopt those that agree, each in their own folder, or give --classes",
        )
    return written.pop()


def _names_in(schema: pa.Schema, label: str) -> tuple[str, ...]:
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _require_same(location: Location, files: list[_File], names: Collection[str]) -> None:
    """Every file has these columns once, of the same types, and says the same layout of itself."""
    first = {name: _type_in(files[0].ending.schema, name) for name in names}
    layout = _own_layout(files[0].ending.schema)
    for file in files:
        schema, where = file.ending.schema, f"{location}/{file.shard.path}"
        for name, expected in first.items():
            if (found := _type_in(schema, name)) is None or found != expected:
                raise ImportRefused(
                    f"column {name!r} of {where} is {found or 'missing or there twice'}"
                    + (f", and {expected} in the first file" if expected else ""),
                    "Adopt files of one schema, each in its own folder",
                )
        if _own_layout(schema) != layout:
            raise ImportRefused(
                f"{where} holds records of another layout than the first file",
                "Adopt files of one schema, each in its own folder",
            )


def _type_in(schema: pa.Schema, name: str) -> pa.DataType | None:
    return schema.field(name).type if schema.names.count(name) == 1 else None


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
