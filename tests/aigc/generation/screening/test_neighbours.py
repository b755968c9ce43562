"""The nearest of many points: what measuring every distance finds, in numbers of any width."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aigc.generation.screening import neighbours
from aigc.generation.screening.neighbours import Neighbours
from aigc.seeding import generator

WIDTHS = pytest.mark.parametrize("width", [torch.bfloat16, torch.float32])
FINE = pytest.mark.parametrize("fine", [False, True])


def points(name: str, count: int, size: int = 20) -> Tensor:
    """About a place far from zero, so that sums of squares are long."""
    return 5 + torch.randn(count, size, generator=generator(name))


def measured(asked: Tensor, known: Tensor) -> Tensor:
    return (asked.double()[:, None] - known.double()).square().sum(2).sqrt()


@WIDTHS
@FINE
def test_finds_what_measuring_all_finds(
    monkeypatch: pytest.MonkeyPatch, width: torch.dtype, fine: bool
) -> None:
    monkeypatch.setattr(neighbours, "product_type", lambda: width)
    known, asked = points("known", 900), points("asked", 700)
    # Some are so close to two points that numbers of 16 bits cannot tell which is nearer.
    asked[:300] = known[:300] + 1e-3 * points("near", 300)
    known[300:600] = known[:300] + 1e-3
    apart = measured(asked, known)

    rows, distances = Neighbours(known, fine).nearest(asked)

    assert torch.equal(rows, apart.argmin(dim=1))
    assert torch.allclose(distances, apart.amin(dim=1), rtol=1e-12)


@WIDTHS
@FINE
def test_nothing_within_the_distance_is_missed(
    monkeypatch: pytest.MonkeyPatch, width: torch.dtype, fine: bool
) -> None:
    monkeypatch.setattr(neighbours, "product_type", lambda: width)
    known, asked = points("known", 900), points("asked", 700)
    apart = measured(asked, known)
    within = apart.amin(dim=1).median().item()

    rows, distances = Neighbours(known, fine).nearest(asked, within)

    is_near = apart.amin(dim=1) <= within
    assert torch.equal(rows[is_near], apart.argmin(dim=1)[is_near])
    assert (rows[apart.amin(dim=1) > 1.05 * within] == -1).all()
    assert distances[rows == -1].isinf().all()


@WIDTHS
def test_the_first_of_equals_is_the_nearest_and_oneself_is_not(
    monkeypatch: pytest.MonkeyPatch, width: torch.dtype
) -> None:
    monkeypatch.setattr(neighbours, "product_type", lambda: width)
    known = points("known", 50).repeat(3, 1)
    every = torch.arange(150)

    rows, distances = Neighbours(known).nearest(known)
    others, apart = Neighbours(known).nearest(known, own=every)

    assert torch.equal(rows, every % 50)
    assert torch.equal(others, torch.where(every < 50, every + 50, every % 50))
    assert not distances.any()
    assert not apart.any()


def test_of_nothing_asked_there_is_no_answer() -> None:
    rows, distances = Neighbours(points("known", 5)).nearest(points("asked", 0))

    assert not len(rows)
    assert not len(distances)
