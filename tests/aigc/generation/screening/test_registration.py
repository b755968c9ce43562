"""Windows of records are found again, of grey and coloured images of several sizes."""

from __future__ import annotations

import pytest
import torch
from planted import moved, trimmed_unevenly
from torch import Tensor
from torch.nn.functional import interpolate

from aigc.generation.screening.frames import frames_of
from aigc.generation.screening.image_memory import ImageMemory
from aigc.generation.screening.registration import guessed, is_crop, refined, registered, shown


def pictures(count: int, channels: int, side: int) -> Tensor:
    """Smooth pictures that fill their frame, uint8 (count, channels, side, side)."""
    draws = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, channels, 7, 7, generator=draws)
    return (255 * interpolate(coarse, (side, side), mode="bilinear")).to(torch.uint8)


def whole(count: int, side: int) -> Tensor:
    """Windows that show all."""
    return torch.tensor([[0.0, side], [0.0, side]]).expand(count, 2, 2)


def test_a_window_of_whole_pixels_shows_what_a_crop_is() -> None:
    records = pictures(20, 1, 28)
    windows = whole(20, 28) + torch.tensor([2.0, -3.0])

    seen = shown(records[:, 0].float(), windows).round().to(torch.uint8)

    assert (seen.int() - trimmed_unevenly(records)[:, 0].int()).abs().max() <= 1


def test_outside_of_a_record_it_is_black() -> None:
    records = pictures(20, 1, 28)

    seen = shown(records[:, 0].float(), whole(20, 28) + 1).to(torch.uint8)

    assert torch.equal(seen, moved(records)[:, 0])


@pytest.mark.parametrize("side", [28, 64])
def test_the_window_of_an_uneven_crop_is_found_to_a_tenth_of_a_pixel(side: int) -> None:
    records = pictures(20, 1, side)
    samples = trimmed_unevenly(records)

    found = refined(samples[:, 0].float(), records[:, 0].float(), whole(20, side))

    assert (found - whole(20, side) - torch.tensor([2.0, -3.0])).abs().max() < 0.1


def test_frames_guess_where_a_bright_part_was_cut_out() -> None:
    records = torch.nn.functional.pad(pictures(20, 1, 16), (8, 4, 5, 7))
    samples = trimmed_unevenly(records)

    found = guessed(frames_of(samples, 0), frames_of(records, 0), (28, 28))

    assert (found - whole(20, 28) - torch.tensor([2.0, -3.0])).abs().max() < 0.5


def test_a_small_part_of_a_record_is_no_crop_of_it() -> None:
    windows = whole(4, 28).clone()
    windows[1, 0] += torch.tensor([0.0, -6.0])
    windows[2, 1] += torch.tensor([-1.0, -1.0])
    windows[3, 1] += torch.tensor([-2.0, 0.0])

    assert is_crop(windows, (28, 28)).tolist() == [True, False, True, False]
    assert is_crop(windows, (28, 28), rough=True).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 64])
def test_pictures_cropped_unevenly_are_told_from_others(channels: int, side: int) -> None:
    records, others = pictures(400, channels, side).split(200)
    memory = ImageMemory.of(records)

    found = memory.nearest(trimmed_unevenly(records))

    assert ((found.index == torch.arange(200)) & found.copied).float().mean() >= 0.95
    assert not memory.nearest(others).copied.any()


def test_likeness_does_not_depend_on_the_pairs_beside_it() -> None:
    records = pictures(100, 1, 28)
    samples, windows = trimmed_unevenly(records), whole(100, 28)
    together = registered(samples, records, windows)

    apart = [
        registered(samples[row : row + 1], records[row : row + 1], windows[row : row + 1])
        for row in range(100)
    ]
    assert torch.equal(torch.cat(apart), together)
    assert len(registered(samples[:0], records[:0], windows[:0])) == 0
