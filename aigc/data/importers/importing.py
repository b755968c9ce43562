"""An import from its plan to the published dataset."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from aigc.data.catalog import Dataset, find, publish
from aigc.data.cleaning import SIGNATURES, Rejected
from aigc.data.files import digest_of, fsync
from aigc.data.importers.contract import Importer, Options, Part
from aigc.data.importers.conversion import Conversion, Converted, readable
from aigc.data.importers.pixels import decoded
from aigc.data.importers.publication import (
    QuarantineRequest,
    ShardRequest,
    fill,
    quarantine,
    write_near_duplicates,
)
from aigc.data.importers.scratch import scratch_folder
from aigc.data.importers.selection import Selection, content_sha256, select
from aigc.data.importers.splits import Shares
from aigc.data.importers.table import open_source
from aigc.data.manifest import MANIFEST, NAME, Manifest
from aigc.data.shards import schema
from aigc.errors import ImportRefused
from aigc.layout import Layout
from aigc.modalities.text import SHORTEST

Input = TypeVar("Input")
Output = TypeVar("Output")
Format = Literal["parquet", "arrow"]

TEXT_LENGTH = 1024
LONGEST_SIDE = 8192
LONGEST_TEXT = 2**20
"""Of a record: what is longer is a mistake."""


class Map(Protocol):
    """Where the work is done: `function` of each input, the results in any order."""

    def __call__(
        self, function: Callable[[Input], Output], inputs: Sequence[Input], /
    ) -> Iterable[Output]: ...


@dataclass(frozen=True)
class Import:
    """What is to be imported, and how. Nothing was read yet but names and sizes."""

    name: str
    kind: str
    importer: Importer
    options: Options
    shares: Shares
    parts: tuple[Part, ...]
    format: Format = "parquet"

    @property
    def bytes(self) -> int:
        """About what must be read."""
        return sum(part.bytes for part in self.parts)

    def settings(self) -> dict[str, Any]:
        """What decides, beside the source, which bytes the dataset has."""
        return {
            "importer": self.kind,
            "options": asdict(self.options),
            "splits": asdict(self.shares),
            "format": self.format,
        }


def plan_import(
    kind: str,
    name: str | None = None,
    path: Path | None = None,
    options: Options | None = None,
    shares: Shares | None = None,
    format: Format = "parquet",
) -> Import:
    """Look at what the importer `kind` finds at `path`. Raises ImportRefused.

    The dataset is called `name`; those that come with a package have a name of their own. Arrow
    files are read in half of Parquet's time, and are not compressed.
    """
    options, shares = options or Options(), shares or Shares()
    if kind == "text" and options.length is None:
        options = replace(options, length=TEXT_LENGTH)
    _check(options)
    importer = open_source(kind, path, options)
    name = kind if name is None and path is None else name
    if name is None or not re.fullmatch(NAME, name):
        raise ImportRefused(
            "the dataset has no name" if name is None else f"{name!r} cannot be a dataset's name",
            "Give as --name up to 40 of a-z, 0-9 and -, the first no -",
        )
    parts = tuple(importer.parts())
    if not parts:
        raise ImportRefused(f"there is nothing to import in {importer.origin}", "Give another PATH")
    return Import(name, kind, importer, options, shares, parts, format)


def import_dataset(
    root: Path,
    kind: str,
    name: str | None = None,
    path: Path | None = None,
    options: Options | None = None,
    shares: Shares | None = None,
) -> tuple[Dataset, bool]:
    """Import into `root` in this process; whether the dataset was made just now.

    Raises ImportRefused, WorkspaceUnwritable.
    """
    return run_import(root, plan_import(kind, name, path, options, shares))


def run_import(root: Path, plan: Import, map: Map = builtins.map) -> tuple[Dataset, bool]:
    """Import into `root`, the work done by `map`; whether the dataset was made just now.

    The version is the digest of what was read, so that the same import is the same dataset,
    however often it is repeated, and wherever. Raises ImportRefused when every record was
    rejected, WorkspaceUnwritable.
    """
    layout = _layout(plan)
    with scratch_folder(root / plan.name) as scratch:
        convert = Conversion(plan.importer, layout, plan.options.resize, scratch)
        done = map(convert, list(enumerate(plan.parts)))
        converted = sorted(done, key=lambda each: each.number)
        selection = select(converted, _labelled(layout, plan.importer), plan.shares)
        _require_records(plan, selection, converted)
        content = {**plan.settings(), "sha256": content_sha256(converted, selection)}
        version = digest_of(content)[:12]
        if (root / plan.name / version / MANIFEST).exists():
            return find(root, f"{plan.name}@{version}"), False
        built = scratch / "dataset"
        requests = ShardRequest.all(selection, scratch, built, f".{plan.format}")
        shards = {shard.path: shard for shard in map(fill, requests)}
        list(map(quarantine, QuarantineRequest.all(selection, scratch, built)))
        write_near_duplicates(selection, scratch, built)
        manifest = Manifest(
            name=plan.name,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            layout=selection.layout,
            columns={field.name: str(field.type) for field in schema(selection.layout)},
            shards=tuple(shards[request.path] for request in requests),
            source={**content, "origin": plan.importer.origin, "cleaning": cleaning(selection)},
        )
        publish(built, manifest)
        return _put_in_place(root, built, manifest)


def _put_in_place(root: Path, built: Path, manifest: Manifest) -> tuple[Dataset, bool]:
    """Show the whole dataset in one step, unless another import of the same was first."""
    folder = root / manifest.name / manifest.version
    try:
        built.rename(folder)
        fsync(folder.parent)
    except OSError:
        if not (folder / MANIFEST).exists():
            raise
        return find(root, f"{manifest.name}@{manifest.version}"), False
    return find(root, f"{manifest.name}@{manifest.version}"), True


def cleaning(selection: Selection) -> dict[str, Any]:
    """The report: what was read, what was rejected for which reason, and what is nearly equal."""
    rejected = selection.rejected
    return {
        "read": int(selection.is_kept.sum()) + sum(rejected.values()),
        "rejected": rejected,
        "near_duplicates": {
            "pairs": len(selection.near),
            "records": len(np.unique(selection.near[:, :2])),
            "distance_at_most": SIGNATURES[selection.layout.modality].limit,
        },
    }


def _check(options: Options) -> None:
    """Raise ImportRefused for a shape or a length that no record can have."""
    shape, length = options.shape, options.length
    if shape is not None:
        is_image = len(shape) == 3 and shape[0] in (1, 3)
        if not is_image or not all(0 < side <= LONGEST_SIDE for side in shape[1:]):
            raise ImportRefused(
                f"{shape} is no shape of images",
                f"Give --shape CHANNELS,HEIGHT,WIDTH: 1 or 3 channels, sides up to {LONGEST_SIDE}",
            )
    if length is not None and not SHORTEST <= length <= LONGEST_TEXT:
        raise ImportRefused(
            f"{length} is no length of a text", f"Give --length {SHORTEST} to {LONGEST_TEXT}, bytes"
        )


def _layout(plan: Import) -> Layout:
    """What a record looks like: as asked for, or as the first that can be decoded."""
    if plan.options.length is not None:
        return Layout(modality="text", shape=(plan.options.length,))
    shape = plan.options.shape or _first_shape(plan)
    return Layout(modality="image", shape=shape)


def _first_shape(plan: Import) -> tuple[int, ...]:
    refused, example = dict[str, int](), ""
    for raw in (raw for part in plan.parts for raw in readable(plan.importer, part)):
        try:
            if isinstance(raw.value, Rejected):
                raise raw.value
            shape = decoded(raw.value).shape
        except Rejected as rejected:
            refused[rejected.reason] = refused.get(rejected.reason, 0) + rejected.count
            example = example or f"{raw.origin}: {rejected}"
            continue
        if len(shape) == 3 and shape[0] in (1, 3):
            return shape
        raise ImportRefused(
            f"{raw.origin}: the shape of an image cannot be told from {shape} numbers",
            "Give it as --shape CHANNELS,HEIGHT,WIDTH",
        )
    raise _nothing(plan, refused, example)


def _labelled(layout: Layout, importer: Importer) -> Layout:
    return layout.model_copy(update={"labels": importer.labels or ()})


def _require_records(plan: Import, selection: Selection, converted: Sequence[Converted]) -> None:
    if not len(selection.first):
        examples = [each.first_rejected for each in converted if each.first_rejected]
        raise _nothing(plan, selection.rejected, *examples[:1])


def _nothing(plan: Import, rejected: Mapping[str, int], example: str = "") -> ImportRefused:
    counts = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    first = f"; the first: {example}" if example else ""
    return ImportRefused(
        f"no record of {plan.importer.origin} can be imported: {counts or 'it is empty'}{first}",
        "Look at the files, or import them as what they are; --length makes a column text",
    )
