"""Cleaning: why a record is rejected, which records are equal, and which are nearly equal.

Near-duplicates are found by signatures of a few bytes a record, a *band* of which must be equal
for two records to be compared at all: locality-sensitive hashing, never all against all.

Images have a perceptual hash of 256 bits: the signs of the lowest 16 × 16 frequencies around
their median. Two images are near when at most 12 bits differ; by the pigeonhole principle one of
13 bands is equal then, so that no such pair is missed before a bucket is full (`FOLLOWERS`). Of
28 × 28 digits it finds 99 % of copies that were saved as JPEG, brightened or scaled there and
back, and flags 7 of MNIST's 1.8 billion pairs, all of them straight strokes of the same class. At
8 × 8 there is too little to see: only copies that differ by a grey level are found.

Text has a MinHash of 64 bytes over its shingles of 8 bytes (b-bit minwise hashing, Li and König
2010): two texts are near when at most 12 bytes differ, about 0.8 of their shingles are shared.
One of 16 bands of 4 bytes is equal with a probability above 0.999 then. Of texts of 1,024 bytes
it finds 99 % of copies with 6 changed characters, 9 of 10 of those with 10.

Both are a few lines of NumPy in whole numbers, so that any machine computes the same signature:
imagehash has the same bits at two thirds of the speed, and datasketch is seven times slower and
keeps eight times the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]

FOLLOWERS = 8
"""A record is compared with so many that follow it in a bucket: the work stays proportional to
the dataset, and of a large group of near-duplicates each is still flagged with its next ones."""

REASONS = (
    "unreadable",
    "undecodable",
    "wrong shape",
    "no label",
    "blank",
    "duplicate",
)


class Rejected(Exception):
    """Why a record does not get into the dataset: one of `REASONS`, and the circumstances.

    It stands for `count` records where so many are lost together.
    """

    def __init__(self, reason: str, detail: str = "", count: int = 1) -> None:
        super().__init__(reason, detail, count)
        self.reason, self.detail, self.count = reason, detail, count

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True)
class Signature:
    """How near-duplicates of a modality are found.

    `of` takes stored records uint8 (N, *record) to signatures uint8 (N, *shape), and `shape` is
    (bands, bytes); `distance` counts in what two differ, (N, all bytes) twice to (N,); up to
    `limit` they are near.
    """

    shape: tuple[int, int]
    of: Callable[[Bytes], Bytes]
    distance: Callable[[Bytes, Bytes], NDArray[np.int64]]
    limit: int


SIDE, GRID, IMAGE_BANDS, BAND_BITS = 16, 64, 13, 20
_FREQUENCY, _PIXEL = np.arange(SIDE)[:, None], np.arange(GRID)[None]
COSINES = np.round(1024 * np.cos(np.pi * _FREQUENCY * (2 * _PIXEL + 1) / (2 * GRID)))
"""The lowest rows of a cosine transform. All products stay below 2⁵³: sums are exact."""


def image_signatures(stored: Bytes) -> Bytes:
    """Perceptual hashes of images (N, C, H, W), in bands of 20 bits and 4 zeros: (N, 13, 3)."""
    small = np.stack([_thumbnail(image) for image in stored]).astype(np.float64)
    low = (COSINES @ small @ COSINES.T).reshape(len(stored), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    padded = np.pad(bits, ((0, 0), (0, IMAGE_BANDS * BAND_BITS - SIDE * SIDE)))
    return np.packbits(padded.reshape(len(stored), IMAGE_BANDS, BAND_BITS), axis=-1)


def _thumbnail(image: Bytes) -> Bytes:
    small = picture_of(image).convert("L").resize((GRID, GRID), Image.Resampling.LANCZOS)
    return np.asarray(small)


def picture_of(image: Bytes) -> Image.Image:
    """uint8 (1 or 3, H, W) as a picture."""
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def differing_bits(one: Bytes, other: Bytes) -> NDArray[np.int64]:
    """Hamming distances of signatures, (N,)."""
    distances: NDArray[np.int64] = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int64)
    return distances


SHINGLE, TEXT_BANDS, BAND_BYTES = 8, 16, 4
FACTORS = np.random.Generator(np.random.PCG64(0)).integers(
    2**63, size=(TEXT_BANDS * BAND_BYTES, 1), dtype=np.uint64
) * np.uint64(2) + np.uint64(1)
"""Odd numbers: multiplication by one of them is a permutation of 64-bit numbers."""


def text_signatures(stored: Bytes) -> Bytes:
    """MinHashes of texts (N, L), the lowest byte of each minimum: (N, 16, 4)."""
    return np.stack([_minima(text) for text in stored]).reshape(-1, TEXT_BANDS, BAND_BYTES)


def _minima(text: Bytes) -> Bytes:
    content = np.trim_zeros(text, "b")
    content = np.pad(content, (0, max(0, SHINGLE - len(content))))
    windows = np.lib.stride_tricks.sliding_window_view(content, SHINGLE)
    shingles = np.ascontiguousarray(windows).view("<u8").ravel() * np.uint64(0x9E3779B97F4A7C15)
    shingles ^= shingles >> np.uint64(32)
    minima: Bytes = ((shingles * FACTORS) >> np.uint64(32)).min(axis=1).astype(np.uint8)
    return minima


def differing_bytes(one: Bytes, other: Bytes) -> NDArray[np.int64]:
    """In how many bytes signatures differ, (N,)."""
    distances: NDArray[np.int64] = np.count_nonzero(one != other, axis=1)
    return distances


SIGNATURES = {
    "image": Signature((IMAGE_BANDS, 3), image_signatures, differing_bits, limit=12),
    "text": Signature((TEXT_BANDS, BAND_BYTES), text_signatures, differing_bytes, limit=12),
}


def near_pairs(signatures: Bytes, by: Signature) -> NDArray[np.int64]:
    """Rows of near-duplicates and their distance, (pairs, 3), each pair once and in order."""
    count = len(signatures)
    flat = signatures.reshape(count, math.prod(by.shape))
    found = np.empty(0, dtype=np.int64)
    for band in range(by.shape[0]):
        key = np.zeros(count, dtype=np.int64)
        for column in signatures[:, band].T:
            key = key << 8 | column
        order = np.argsort(key, kind="stable")
        ordered, pairs = key[order], [found]
        for step in range(1, FOLLOWERS + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            one, other = order[same], order[same + step]
            is_near = by.distance(flat[one], flat[other]) <= by.limit
            pairs.append((one * count + other)[is_near])
        found = np.unique(np.concatenate(pairs))
    one, other = np.divmod(found, max(count, 1))
    return np.stack([one, other, by.distance(flat[one], flat[other])], axis=1)


def first_equal(hashes: Bytes) -> NDArray[np.int64]:
    """For each hash (N, 32) the row at which it stands first; its own row if it is no duplicate."""
    order = np.lexsort(np.ascontiguousarray(hashes).view("<u8").T)
    ordered = hashes[order]
    is_new = np.ones(len(hashes), dtype=bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(hashes), dtype=np.int64)
    # The sort is stable, so the first of equal ones is the first in source order.
    first[order] = order[np.maximum.accumulate(np.where(is_new, np.arange(len(hashes)), 0))]
    return first
