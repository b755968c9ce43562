"""The most alike of many looks: what measuring them all finds, in numbers of any width."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from aigc.generation.screening import neighbours
from aigc.generation.screening.neighbours import Neighbours, Numbers, Rows
from aigc.seeding import generator


@pytest.fixture(params=[torch.bfloat16, torch.float32], autouse=True)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "product_type", lambda: request.param)


def looks(name: str, count: int, size: int = 20) -> Tensor:
    """All of them somewhat alike."""
    return normalize(1 + torch.randn(count, size, generator=generator(name)), dim=1)


def measured(asked: Tensor, known: Tensor) -> Tensor:
    return asked.double() @ known.double().T


def test_finds_what_measuring_all_finds() -> None:
    known, asked = looks("known", 2900), looks("asked", 2700)
    # Some are so like two others that numbers of 16 bits cannot tell which they are more like.
    asked[:300] = normalize(known[:300] + 1e-3 * looks("near", 300), dim=1)
    known[300:600] = normalize(known[:300] + 1e-3, dim=1)
    alike = measured(asked, known)

    rows, correlation = Neighbours(known).most_alike(asked)

    assert torch.equal(rows, alike.argmax(dim=1))
    assert torch.allclose(correlation, alike.amax(dim=1), rtol=1e-12)


def test_what_is_opposite_to_all_is_most_like_the_least_opposite() -> None:
    known = looks("known", 40)
    alike = measured(-known, known)

    rows, correlation = Neighbours(known).most_alike(-known)

    assert torch.equal(rows, alike.argmax(dim=1))
    assert torch.allclose(correlation, alike.amax(dim=1), rtol=1e-12)


def test_the_first_of_equals_is_found_and_oneself_is_not() -> None:
    known = looks("known", 50).repeat(3, 1)
    every = torch.arange(150)

    rows, correlation = Neighbours(known).most_alike(known)
    others, alike = Neighbours(known).most_alike(known, own=every[:, None])
    last, _ = Neighbours(known).most_alike(known, own=torch.stack([every % 50, every % 50 + 50], 1))

    assert torch.equal(rows, every % 50)
    assert torch.equal(others, torch.where(every < 50, every + 50, every % 50))
    assert torch.equal(last, every % 50 + 100)
    assert torch.allclose(correlation, torch.ones(150).double())
    assert torch.allclose(alike, torch.ones(150).double())


def test_where_there_is_nothing_to_be_seen_nothing_is_alike() -> None:
    known = torch.cat([torch.zeros(1, 20), looks("known", 5)])
    asked = torch.cat([torch.zeros(2, 20), known[3:4]])

    rows, correlation = Neighbours(known).most_alike(asked)

    assert rows.tolist() == [0, 0, 3]
    assert not correlation[:2].any()


def test_of_nothing_asked_there_is_no_answer() -> None:
    rows, correlation = Neighbours(looks("known", 5)).most_alike(looks("asked", 0))

    assert not len(rows)
    assert not len(correlation)


def test_of_those_as_alike_but_for_the_margin_the_one_least_away_is_found() -> None:
    known = looks("known", 40)
    known = torch.cat([known, normalize(known + 0.03, dim=1), normalize(known + 0.3, dim=1)])

    def last_first(one: Rows, other: Rows) -> Numbers:
        assert (one % 40 == other % 40).all()
        return -other.astype(float)

    rows, correlation = Neighbours(known).most_alike(known[:40], away=last_first, margin=0.02)

    assert torch.equal(rows, torch.arange(40, 80))
    assert torch.allclose(correlation, (known[:40].double() * known[40:80].double()).sum(dim=1))
