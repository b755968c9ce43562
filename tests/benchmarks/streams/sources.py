"""The records that all libraries are given, and the one conversion that all of them use."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aigc.data.stream import default_window
from aigc.layout import Layout
from aigc.modalities import modality

BATCH, SEED = 128, 0
MNIST = Path(__file__).parents[4] / "shared" / "datasets" / "mnist"
ARRAYS = "images.npy", "labels.npy"
SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1), (2, 0))

Shape = tuple[int, ...]
Epoch = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""From an epoch's number to its batches: float32 in [−1, 1], (B, C, H, W), and int64, (B,)."""
Route = Callable[[Path, Shape], Epoch]


class Source(NamedTuple):
    """uint8 images (N, C, H, W) and int64 labels (N,) below 10, in files mapped to memory."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def shape(self) -> Shape:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])


def window_of(shape: Shape) -> int:
    """Records shuffled together: our default, and so the buffer of each library that has one."""
    return default_window(Layout(modality="image", shape=shape))


def decoded(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches of images as floats in [−1, 1]."""
    decode = modality("image").decode
    for images, labels in batches:
        yield decode(images), labels


def joined(records: Sequence[bytes], shape: Shape) -> Tensor:
    """Single records as one uint8 batch: the quickest way from bytes to a tensor."""
    return torch.frombuffer(bytearray(b"".join(records)), dtype=torch.uint8).view(-1, *shape)


def opened(folder: Path) -> Source:
    """The source that `keep` has put there."""
    images, labels = (np.load(folder / name, mmap_mode="r") for name in ARRAYS)
    return Source(images, labels)


def keep(folder: Path, source: Source) -> None:
    """Put a source into `folder`, whole or not at all."""
    partial = folder.with_name(f"{folder.name}-partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, array in zip(ARRAYS, source, strict=True):
        np.save(partial / name, array)
    partial.rename(folder)


def mnist_x10(records: int) -> Source:
    """MNIST's training images ten times, each time shifted by another (dx, dy)."""
    images = _idx(MNIST / "train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = _idx(MNIST / "train-labels-idx1-ubyte.gz", 8)
    shifted = [np.roll(images, shift, (2, 3)) for shift in SHIFTS]
    repeated = np.tile(labels, len(SHIFTS)).astype("int64")
    return Source(np.concatenate(shifted)[:records], repeated[:records])


def blobs(records: int) -> Source:
    """Smooth random blobs of three colours with mild noise, (N, 3, 64, 64), and random labels."""
    random = torch.Generator().manual_seed(SEED)
    images = np.empty((records, 3, 64, 64), np.uint8)
    for start in range(0, records, 1000):
        part = images[start : start + 1000]
        coarse = torch.rand(len(part), 3, 6, 6, generator=random) * 255
        smooth = functional.interpolate(coarse, (64, 64), mode="bicubic")
        noise = torch.randn(smooth.shape, generator=random) * 2
        part[:] = (smooth + noise).round_().clamp_(0, 255).to(torch.uint8)
    return Source(images, torch.randint(10, (records,), generator=random).numpy())


def squares(records: int, side: int) -> Source:
    """Random pictures of few grey levels, (N, 1, side, side), and random labels."""
    random = np.random.default_rng(SEED)
    images = random.integers(8, size=(records, 1, side, side), dtype=np.uint8) * 32
    return Source(images, random.integers(10, size=records))


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
