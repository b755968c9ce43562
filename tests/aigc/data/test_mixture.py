"""Shares of a batch: whole records, the same in every batch."""

from __future__ import annotations

import pytest
from numbered import Numbered

from aigc.data.catalog import Dataset
from aigc.data.mixture import Mixture
from aigc.errors import DataError


def counts(mixture: Mixture, batch_size: int) -> list[tuple[str, int]]:
    return [(each.manifest.name, count) for each, count in mixture.parts(batch_size)]


def test_one_dataset_has_the_whole_batch(digits: Dataset) -> None:
    assert counts(Mixture(digits), 32) == [("digits", 32)]
    assert Mixture(digits).layout == digits.manifest.layout


@pytest.mark.parametrize(
    ("shares", "batch_size", "expected"),
    [
        ([0.25], 40, [30, 10]),
        ([0.3], 32, [22, 10]),
        ([1 / 3, 1 / 3], 32, [10, 11, 11]),
        ([0.5, 0.45], 20, [1, 10, 9]),
    ],
)
def test_shares_are_whole_records_and_the_rest_is_the_first_ones(
    numbered: Numbered, shares: list[float], batch_size: int, expected: list[int]
) -> None:
    others = [(numbered(100, f"other-{n}"), share) for n, share in enumerate(shares)]
    mixture = Mixture(numbered(100), *others)

    assert [count for _, count in counts(mixture, batch_size)] == expected


@pytest.mark.parametrize(
    ("share", "name"), [(0.01, "other"), (0.99, "numbered"), (1.5, "numbered")]
)
def test_a_dataset_without_a_record_in_a_batch_is_refused(
    numbered: Numbered, share: float, name: str
) -> None:
    mixture = Mixture(numbered(100), (numbered(100, "other"), share))
    with pytest.raises(DataError, match=rf"{name}@v1 would have no record in a batch of 20"):
        counts(mixture, 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"shape": (1, 4, 2)},
            r"image 1×4×2 with 10 labels \(0, 1.*, numbered@v1 of image 1×2×4 with 10",
        ),
        ({"labels": ()}, "image 1×2×4 with no labels, numbered@v1 of image 1×2×4 with 10 labels"),
        ({"labels": tuple("9876543210")}, "other@v1 has records of"),
    ],
)
def test_what_looks_different_is_not_mixed(
    numbered: Numbered, change: dict[str, object], said: str
) -> None:
    other = numbered(100, "other")
    layout = other.manifest.layout.model_copy(update=change)
    changed = Dataset(other.folder, other.manifest.model_copy(update={"layout": layout}))

    with pytest.raises(DataError, match=said):
        Mixture(numbered(100), (changed, 0.5))
