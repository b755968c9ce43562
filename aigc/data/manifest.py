"""manifest.json: what a dataset consists of, and the hash of each part."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from aigc.config import Config
from aigc.data.files import digest_of
from aigc.errors import ManifestInvalid
from aigc.layout import Layout

MANIFEST = "manifest.json"
NAME = r"[a-z0-9][a-z0-9-]{0,39}"
"""What a dataset, a model or a job can be called: it becomes a folder."""
VERSION = r"[A-Za-z0-9][A-Za-z0-9._-]*"


class Footer(Config):
    """The last bytes of a shard, which say where everything else lies in it."""

    bytes: int
    sha256: str


class Shard(Config):
    """One Parquet or Arrow IPC file: where it lies in the dataset, and what it must contain.

    `path` is relative to the dataset's location. `row_groups` are the rows in each row group
    (record batch, in an IPC file). `sha256` is None when only the footer was read, as for files
    that were adopted. Row groups in `quarantined` are never read.
    """

    path: str
    split: str
    row_groups: tuple[int, ...]
    bytes: int
    footer: Footer
    sha256: str | None = None
    quarantined: tuple[int, ...] = ()

    @property
    def records(self) -> int:
        """Rows in the row groups that are read."""
        return sum(self.row_groups[group] for group in self.readable)

    @property
    def readable(self) -> tuple[int, ...]:
        """The numbers of the row groups that are not quarantined."""
        return tuple(g for g in range(len(self.row_groups)) if g not in self.quarantined)

    @model_validator(mode="after")
    def _stays_inside(self) -> Shard:
        path = Path(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"the shard path {self.path!r} leaves the dataset's folder")
        return self


class Manifest(Config):
    """A published dataset. `digest` covers the layout, the columns and every shard's hash.

    `source` says what the dataset was made from; `created` is ISO 8601 with offset. `location` is
    the URI of the folder that holds the shards, None when they lie beside the manifest.
    `column_names` gives the file's name of a column that is not called as the layout calls it.
    """

    format: Literal[1] = 1
    name: str
    version: str
    created: str
    layout: Layout
    columns: dict[str, str]
    shards: tuple[Shard, ...]
    source: dict[str, Any]
    location: str | None = None
    column_names: dict[str, str] = Field(default_factory=dict)
    digest: str = ""

    @property
    def splits(self) -> dict[str, int]:
        """Records in each split."""
        counts: Counter[str] = Counter()
        for shard in self.shards:
            counts[shard.split] += shard.records
        return dict(counts)

    def content_digest(self) -> str:
        """What `digest` must be."""
        covered = {"layout", "columns", "column_names", "shards"}
        return digest_of(self.model_dump(mode="json", include=covered))

    def sealed(self) -> Manifest:
        """The same manifest with its digest."""
        return self.model_copy(update={"digest": self.content_digest()})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`. Raises ManifestInvalid."""
    path = folder / MANIFEST
    advice = "Restore the file from where it was copied, or import the dataset again"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ManifestInvalid(f"cannot read {path}: {error.strerror}", advice) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ManifestInvalid(f"{path}: {where}: {first['msg']}", advice) from error
    if manifest.digest != manifest.content_digest():
        raise ManifestInvalid(f"{path}: the digest does not match the content", advice)
    return manifest


def manifest_text(manifest: Manifest) -> str:
    """The manifest as it is stored."""
    return manifest.model_dump_json(indent=2) + "\n"
