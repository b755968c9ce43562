from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aigc.models.augmentation import augmented, coloured, cut_out, translated
from aigc.seeding import Draws

POLICIES = [coloured, translated, cut_out, augmented]
Policy = Callable[[Tensor, Draws], Tensor]


def images(rows: int = 8, channels: int = 3) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.rand(rows, channels, 16, 16, generator=source) * 2 - 1


@pytest.mark.parametrize("policy", POLICIES)
def test_two_workers_augment_as_one(policy: Policy) -> None:
    whole = policy(images(), Draws(0, 3))
    halves = [policy(half, Draws(0, 3, r, 2)) for r, half in enumerate(images().chunk(2))]
    assert torch.equal(whole, torch.cat(halves))
    assert whole.shape == images().shape
    assert not torch.equal(whole, images())


@pytest.mark.parametrize("policy", POLICIES)
def test_slopes_reach_the_pixels_as_often_as_a_penalty_asks(policy: Policy) -> None:
    pixels = images().requires_grad_()
    loss = policy(pixels, Draws(0, 3)).pow(3).sum()
    (slopes,) = torch.autograd.grad(loss, pixels, create_graph=True)
    (curvature,) = torch.autograd.grad(slopes.square().sum(), pixels)
    assert slopes.abs().sum(dim=(1, 2, 3)).min() > 0
    assert curvature.abs().sum(dim=(1, 2, 3)).min() > 0


def test_a_translation_moves_a_pixel_by_an_eighth_of_the_side_at_most() -> None:
    dot = torch.zeros(500, 1, 16, 24)
    dot[:, :, 8, 12] = 1.0
    places = translated(dot, Draws(0, 0)).nonzero()
    assert len(places) == 500
    assert sorted(set((places[:, 2] - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((places[:, 3] - 12).tolist())) == [-3, -2, -1, 0, 1, 2, 3]


def test_what_moves_in_is_zero_and_what_moves_out_is_gone() -> None:
    moved = translated(torch.ones(200, 1, 16, 16), Draws(0, 0)).mean(dim=(1, 2, 3))
    kept = {a * b / 256 for a in (14, 15, 16) for b in (14, 15, 16)}
    assert set(moved.tolist()) == kept


def test_a_cutout_is_a_rectangle_of_half_a_side_that_the_border_may_cut() -> None:
    gone = cut_out(torch.ones(500, 1, 16, 16), Draws(0, 0)) == 0
    areas = gone.sum(dim=(1, 2, 3))
    assert areas.max() == 8 * 8
    assert areas.min() >= 4 * 4
    assert torch.equal(gone.any(2).sum(2) * gone.any(3).sum(2), areas[:, None])


def test_colours_move_by_their_bounds_and_keep_the_picture() -> None:
    before, after = images(400, 1), coloured(images(400, 1), Draws(0, 0))
    shift = (after - before).mean(dim=(1, 2, 3))
    contrast = after.std(dim=(1, 2, 3)) / before.std(dim=(1, 2, 3))
    assert -0.5 <= shift.min() < -0.45 < 0.45 < shift.max() <= 0.5
    assert 0.5 <= contrast.min() < 0.55 < 1.45 < contrast.max() <= 1.5


def test_saturation_goes_from_grey_to_twice_as_colourful() -> None:
    def spread(pictures: Tensor) -> Tensor:
        return (pictures - pictures.mean(1, keepdim=True)).flatten(1).std(1)

    def contrast(pictures: Tensor) -> Tensor:
        return pictures.mean(1).flatten(1).std(1)

    after = coloured(images(400), Draws(0, 0))
    ratio = spread(after) / spread(images(400)) * contrast(images(400)) / contrast(after)
    assert 0 <= ratio.min() < 0.1 < 1.9 < ratio.max() <= 2.001
