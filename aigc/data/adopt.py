"""Adopting files that are there already: little of them is read, and only a manifest is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from aigc.data.catalog import Dataset, find, publish
from aigc.data.description import NOTHING_SAID, AdoptedFile, Description, described
from aigc.data.files import digest_of
from aigc.data.footers import PARQUET, read_ending
from aigc.data.importers.splits import WORDS
from aigc.data.manifest import MANIFEST, NAME, Manifest, Shard
from aigc.data.storage import PLACE, Location
from aigc.errors import FactoryError, ImportRefused, first_line

if TYPE_CHECKING:
    from aigc.data.importers.importing import Map

Input = TypeVar("Input")
Output = TypeVar("Output")

SUFFIXES = (PARQUET, ".arrow", ".feather", ".ipc")
THREADS = 8
"""Files that are read at once; of what is far away, nearly all of the time is waiting."""


def in_threads(function: Callable[[Input], Output], inputs: Sequence[Input], /) -> Iterator[Output]:
    """`function` of each input, in their order, some of them at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(function, inputs)


def adopt(
    root: Path,
    source: str,
    name: str,
    description: Description = NOTHING_SAID,
    map: Map = in_threads,
) -> tuple[Dataset, bool]:
    """The dataset NAME of the Parquet and Arrow IPC files in `source`, a folder or a URI; and
    whether it was made just now. Files without a record are left out.

    Nothing is copied. Of the files, the footers are read; the first image, if it is a file; and all
    labels, where neither the description nor the schema says the names of the classes. `map` does
    the work of all files. Raises ImportRefused, StorageUnavailable.
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
    names, layout = described(location, files, description, map)
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
    if not source:
        raise ImportRefused("the location is empty", "Give a folder of Parquet files, or a URI")
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
        raise ImportRefused(
            f"{folder} is no folder",
            "Give a folder of Parquet files, for a single file that which holds it alone, or a URI",
        )
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


def _file(location: Location, path: str) -> AdoptedFile:
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
    return AdoptedFile(shard, ending)


def _split(path: str) -> str:
    """The split of a file by the first word of its path that names one; train by default."""
    words = re.split(r"[^a-z]+", path.lower())
    return next((WORDS[word] for word in words if word in WORDS), "train")
