"""MosaicML Streaming: MDS shards, read by its StreamingDataLoader.

`import streaming` loads torchvision, which fails beside a build of torch without CUDA. So the
package is entered without its __init__.py, which only gathers names; all that runs is theirs.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source, decoded, joined


def _without_init(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package


_without_init("streaming")

from streaming.base.dataloader import StreamingDataLoader  # noqa: E402
from streaming.base.dataset import StreamingDataset  # noqa: E402
from streaming.base.format import MDSWriter  # noqa: E402
from streaming.base.local import LocalDataset  # noqa: E402

DISTRIBUTION = "mosaicml-streaming"


def write(source: Source, folder: Path) -> None:
    """Shards of 64 MiB, each record its bytes and its label; no compression, as for local disks."""
    columns = {"image": "bytes", "label": "int64"}
    with MDSWriter(columns=columns, out=str(folder)) as writer:
        for image, label in zip(source.images, source.labels, strict=True):
            writer.write({"image": image.tobytes(), "label": label})


def read(workers: int, folder: Path, shape: Shape) -> Epoch:
    """Its default shuffle, `py1e`."""
    dataset = StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
    loader = StreamingDataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=functools.partial(_collated, shape),
    )
    return lambda number: decoded(loader)


def indexed(folder: Path, shape: Shape) -> Epoch:
    """Its map-style dataset for files that are all here, in torch's random order."""
    loader = DataLoader(
        LocalDataset(str(folder)),
        batch_size=BATCH,
        shuffle=True,
        collate_fn=functools.partial(_collated, shape),
    )
    return lambda number: decoded(loader)


def _collated(shape: Shape, records: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    images = joined([record["image"] for record in records], shape)
    return images, torch.tensor([int(record["label"]) for record in records])


ROUTES: dict[str, Route] = {
    "in process": functools.partial(read, 0),
    "2 workers": functools.partial(read, 2),
    "map-style": indexed,
}
