"""Fingerprints: 64 bits a sample, few of which differ where two samples are nearly the same.

Images have a perceptual hash: which of their 8 × 8 low frequencies (the constant ones left out)
are above the median. Of noised, or recompressed, copies hardly one bit differs. But many different
digits share one: 64 bits are where to look, and thumbnails say whether it is so.

Text has a SimHash (Charikar 2002) of its shingles of 5 bytes, case and white space folded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from aigc.generation.screening.frequencies import WHITE, frequencies, grey_levels, in_parts
from aigc.layout import Layout
from aigc.modalities.text import texts

SIDE = 8
MEDIAN = (SIDE**2 - 1) // 2
THUMBNAIL = 14
"""Pixels of a thumbnail's side: 7 or 10 could not tell a good many of MNIST's strokes apart."""

SHINGLE = 5
"""Bytes of a text's shingle."""

MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)
"""Odd multipliers of splitmix64, which makes all bits of a hash depend on all of the shingle."""


def fingerprints(stored: Tensor, layout: Layout) -> Tensor:
    """Stored samples (N, *shape) as 64 bits each, int64 (N,)."""
    return FINGERPRINTS[layout.modality](stored)


def thumbnails(stored: Tensor, layout: Layout) -> Tensor:
    """What confirms that samples of like fingerprints are alike, uint8 (N, K).

    The grey levels of 14 × 14 areas of an image, 196; of text nothing is needed, and K is 0.
    """
    return THUMBNAILS[layout.modality](stored)


def image_fingerprints(stored: Tensor) -> Tensor:
    """Perceptual hashes of images (N, C, H, W), int64 (N,)."""
    low = frequencies(stored, SIDE + 1)[:, 1:, 1:].flatten(1)
    # The lower one of the two in the middle, which NumPy finds sooner.
    median = np.sort(low.numpy(), axis=1)[:, MEDIAN, None]
    return packed(low > torch.from_numpy(median))


def image_thumbnails(stored: Tensor) -> Tensor:
    """The mean grey levels of 14 × 14 areas, rounded down, uint8 (N, 196)."""
    return torch.cat([_areas(grey_levels(part)) for part in in_parts(stored)]).flatten(1)


def _areas(levels: Tensor) -> Tensor:
    """The means, rounded down, of 14 × 14 areas of grey levels (N, H, W), uint8 (N, 14, 14)."""
    high, wide = (size // THUMBNAIL for size in levels.shape[1:])
    if levels.shape[1:] != (high * THUMBNAIL, wide * THUMBNAIL):
        means = functional.adaptive_avg_pool2d(levels.double().unsqueeze(1), THUMBNAIL)
        return means.squeeze(1).to(torch.uint8)
    # Areas of one size are added up in a sixth of the time, in numbers that are just wide enough.
    pixels = levels.numpy().astype(np.min_scalar_type(WHITE * high * wide))
    rows = sum((pixels[:, row::high] for row in range(1, high)), pixels[:, ::high])
    areas = sum((rows[:, :, column::wide] for column in range(1, wide)), rows[:, :, ::wide])
    return torch.from_numpy((areas // (high * wide)).astype(np.uint8))


def text_fingerprints(stored: Tensor) -> Tensor:
    """SimHashes of texts (N, L), int64 (N,)."""
    votes = [_votes(" ".join(text.lower().split()).encode()) for text in texts(stored)]
    return packed(torch.from_numpy(np.stack(votes)) if votes else torch.zeros(0, 64).bool())


def text_thumbnails(stored: Tensor) -> Tensor:
    """Nothing, uint8 (N, 0)."""
    return torch.empty(len(stored), 0, dtype=torch.uint8)


def packed(bits: Tensor) -> Tensor:
    """Bool (N, 64) as int64 (N,), the first bit the highest."""
    packed_bytes = np.packbits(bits.numpy(), axis=1)
    return torch.from_numpy(packed_bytes.view(">i8").astype(np.int64).reshape(-1))


def _votes(content: bytes) -> NDArray[np.bool_]:
    """Which bits more than half of the shingles' hashes have."""
    found = np.ascontiguousarray(hashed(np.frombuffer(content, np.uint8), SHINGLE))
    bits = np.unpackbits(found.view(np.uint8).reshape(-1, 8), axis=1)
    majority: NDArray[np.bool_] = bits.sum(axis=0, dtype=np.int64) * 2 > len(found)
    return majority


def hashed(content: NDArray[np.uint8], size: int) -> NDArray[np.uint64]:
    """A hash of each `size` bytes (8 at most) that follow one another, (len − size + 1,).

    Shorter content has one, as if zeros followed.
    """
    content = np.pad(content, (0, max(0, size - len(content))))
    places = len(content) - size + 1
    keys = np.zeros(places, dtype=np.uint64)
    for offset in range(size):
        keys = keys << np.uint64(8) | content[offset : offset + places]
    for shift, factor in zip((30, 27, 31), MIX, strict=True):
        keys = (keys ^ (keys >> np.uint64(shift))) * factor
    return keys ^ (keys >> np.uint64(32))


REACHES = {"image": 3, "text": 11}
"""In how many bits the fingerprints of near-duplicates may differ."""

FINGERPRINTS: dict[str, Callable[[Tensor], Tensor]] = {
    "image": image_fingerprints,
    "text": text_fingerprints,
}
THUMBNAILS: dict[str, Callable[[Tensor], Tensor]] = {
    "image": image_thumbnails,
    "text": text_thumbnails,
}
