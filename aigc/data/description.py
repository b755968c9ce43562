"""What the records of adopted files are: which columns hold them, their shape, their classes."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from aigc.data.footers import Ending
from aigc.data.manifest import Shard
from aigc.data.reader import ShardReader
from aigc.data.shards import LABEL
from aigc.data.storage import Location
from aigc.errors import ImportRefused, ShardCorrupt
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.modalities.columns import holds_files
from aigc.modalities.image import can_hold_images, shape_of

if TYPE_CHECKING:
    from aigc.data.importers.importing import Map

CHANNELS = (1, 3)
MAX_CLASSES = 10_000


@dataclass(frozen=True)
class Description:
    """What footers do not say of a record: its columns, its shape, the names of its classes."""

    column: str | None = None
    label: str | None = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()


NOTHING_SAID = Description()


class AdoptedFile(NamedTuple):
    """A file that becomes a shard, and what its end says."""

    shard: Shard
    ending: Ending


def described(
    location: Location, files: list[AdoptedFile], description: Description, map: Map
) -> tuple[dict[str, str], Layout]:
    """The files' names of the layout's columns, and the layout. Raises ImportRefused."""
    schema = files[0].ending.schema
    own = _own_layout(schema) if description == NOTHING_SAID else None
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
        asked = description.column
        needed = f"column {asked!r} holds no images" if asked else "one column of images is needed"
        raise ImportRefused(
            f"{needed}; the columns are {_columns(schema)}",
            "Name it with --column; images are fixed_size_binary, lists or tensors of uint8 of a "
            "fixed size, binary, or struct<bytes, …>",
        )
    return candidates[0]


def _label(schema: pa.Schema, description: Description) -> str | None:
    name = description.label or (LABEL if LABEL in schema.names else None)
    if name is None:
        return None
    if name not in schema.names:
        raise ImportRefused(
            f"there is no column {name!r}; the columns are {_columns(schema)}",
            "Name another one with --label, or import the files: aigc data import parquet",
        )
    if schema.names.count(name) != 1 or not pa.types.is_integer(schema.field(name).type):
        raise ImportRefused(
            f"column {name!r} holds no integer labels; the columns are {_columns(schema)}",
            "Name another one with --label, or import the files: aigc data import parquet",
        )
    return name


def _shape(
    location: Location, file: AdoptedFile, column: str, description: Description
) -> tuple[int, ...]:
    """(channels, height, width): as described, as the column's type says, or as the first image."""
    kind = file.ending.schema.field(column).type
    said, size = _tensor_shape(column, kind), _size(kind)
    shape = description.shape or said
    if holds_files(str(kind)):
        first = _first_shape(location, file, column)
        shape = shape or first
        # Grey files can be had as colour.
        said = shape if first in (shape, (1, *shape[1:])) else first
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


def _first_shape(location: Location, file: AdoptedFile, column: str) -> tuple[int, ...]:
    """The shape of a shard's first image."""
    types = {column: str(file.ending.schema.field(column).type)}
    group = next(group for group, rows in enumerate(file.shard.row_groups) if rows)
    with _for_the_first_time(), closing(ShardReader(location, file.shard, types)) as reader:
        try:
            return shape_of(next(reader.read(group, 1)).column(0))
        except ValueError as error:
            raise ImportRefused(
                f"column {column!r} of {location}/{file.shard.path}: {error}",
                "Name the column of the images with --column; raw pixels in a column of binary are "
                "imported: aigc data import parquet --shape CHANNELS,HEIGHT,WIDTH",
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
    location: Location, files: list[AdoptedFile], label: str, description: Description, map: Map
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
            "Name another column with --label, or import the files: aigc data import parquet",
        )
    return tuple(str(number) for number in range(highest + 1))


def _extremes(location: Location, label: str, file: AdoptedFile) -> tuple[int, int]:
    """The smallest and the largest label of a file. Its statistics would say it, but PyArrow ends
    the process on some that are damaged."""
    types = {label: str(file.ending.schema.field(label).type)}
    with _for_the_first_time(), closing(ShardReader(location, file.shard, types)) as reader:
        columns = [b.column(0) for g in file.shard.readable for b in reader.read(g)]
    extremes = pc.min_max(pa.chunked_array(columns))
    return extremes["min"].as_py(), extremes["max"].as_py()


def _written_names(files: list[AdoptedFile], label: str) -> tuple[str, ...]:
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


def _require_same(location: Location, files: list[AdoptedFile], names: Collection[str]) -> None:
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
