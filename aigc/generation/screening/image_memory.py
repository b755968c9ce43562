"""Training images, and which samples copy one of them: as it is, flipped, noised, cropped, moved.

A sample is compared with all of them by the correlation of their looks, each in a frame of its own,
whichever side is left. The most alike is then looked at closely, in two ways. What is left of the
sample when the record is taken away, at the lowest 16 × 16 frequencies, less what noise of the
strength at the higher ones would leave there: so a noised copy is told from another stroke of the
same shape, whose difference is all at low frequencies. And the record's window that shows most of
the sample is found, and compared with it pixel by pixel: so a cropped or moved copy is told.

From when on that is a copy is learned from the training records, each compared with all others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aigc.generation.screening.frames import (
    GROUNDS,
    Frames,
    cropped,
    either_side,
    framed_crops,
    frames_of,
    is_cut,
)
from aigc.generation.screening.frequencies import SCALE, at_once, frequencies, grey
from aigc.generation.screening.nearest import Nearest
from aigc.generation.screening.neighbours import Neighbours, Numbers, Rows
from aigc.generation.screening.registration import guessed, is_crop, registered
from aigc.modalities.image import ImageModality
from aigc.seeding import generator

CLOSE = 16
"""The lowest frequencies that are looked at closely."""

SMALLEST = 3
"""Pixels along an axis of an image that shows a shape: of what has fewer, a copy is the same."""

UNSEEN, UNLIKE, ALIKE = 0.005, 0.9, 0.985
"""The share of copies that are not looked at closely, because the correlation of their looks is too
low, and bounds of that correlation."""

MARGIN = 1e-4
"""By how much the correlations with records may differ that are moved copies of one another."""

PLANTED = 2
"""Pixels that are cut off copies that show it: less than what records are known without."""

MOST_NOISE = 0.9
"""The share of a difference that may be called noise."""

SHARE, LOWEST, HIGHEST = 0.002, 0.9, 0.999
"""The share of the records that may be accused, wrongly, and bounds of the limit: what is less
alike is no copy, what is more alike always is one."""

CUT_OUT_SHARE, CUT_OUT_LOWEST = 0.0005, 0.99
"""The same of what was cut out."""

MISSED, MOST_ACCUSED = 0.04, 0.007
"""Shares of noised copies that may be missed, and of records that may be accused for their sake."""

ASKED = 5000
"""Training records by which the limits are set."""

LEARNED = ("worth", "limit", "cut_out")
"""What is kept of a memory beside the records and their ground."""


class Framed(NamedTuple):
    """Images uint8 (N, C, H, W) and their frames."""

    images: Tensor
    frames: Frames

    def facing(self, others: Framed) -> Framed:
        """The same, those flipped that then look, or lie, more as the others do."""
        frames, is_flipped = self.frames.facing(others.frames, self.images.shape[3])
        turned = torch.where(is_flipped[:, None, None, None], self.images.flip(-1), self.images)
        return Framed(turned, frames)


class Known(NamedTuple):
    """Records to compare with: uint8 (N, C, H, W), the `ground` that is no part of an image, the
    frames of them and their crops, which record each is of, and how those look, whichever side is
    left."""

    images: Tensor
    ground: int
    frames: Frames
    rows: Tensor
    looks: Neighbours

    @classmethod
    def of(cls, images: Tensor, ground: int) -> Known:
        """The records in their frames."""
        return cls.in_frames(images, ground, *framed_crops(images, ground))

    @classmethod
    def in_frames(cls, images: Tensor, ground: int, frames: Frames, rows: Tensor) -> Known:
        """Records whose frames were found before."""
        return cls(images, ground, frames, rows, Neighbours(either_side(frames.looks)))

    def most_alike(self, frames: Frames, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The place of the frame that each looks most like, int64 (M,), and their correlation.

        Frames are alike wherever an image lies in them: of several it is that which lies as the
        sample does. `own` are rows of the records, (M,), that each is not compared with.
        """

        def away(one: Rows, other: Rows) -> Numbers:
            records = self.frames.take(torch.from_numpy(other))
            samples = frames.take(torch.from_numpy(one))
            facing, _ = samples.facing(records, self.images.shape[3])
            return facing.away_from(records).double().numpy()

        others = None if own is None else self.places(own)
        return self.looks.most_alike(either_side(frames.looks), others, away, MARGIN)

    def at(self, places: Tensor) -> Framed:
        """The records of some frames."""
        return Framed(self.images[self.rows[places]], self.frames.take(places))

    def places(self, rows: Tensor) -> Tensor:
        """Where the frames of records, and of their crops or those again, are, (M, 2)."""
        last = torch.arange(len(self.images))
        last = last.scatter_(0, self.rows, torch.arange(len(self.rows)))
        return torch.stack([rows, last[rows]], dim=1)


class Found(NamedTuple):
    """The record that each sample looks most like, int64 (N,), and their correlation; how alike
    they are when looked at closely, and how alike what it shows of the record is; float64 (N,), at
    most 1, and 0 of what was not looked at."""

    rows: Tensor
    correlation: Tensor
    likeness: Tensor
    cut_out: Tensor


@dataclass(frozen=True)
class ImageMemory:
    """The records, the correlation from which on one is worth a close look, and the likeness of a
    copy, and of what was cut out."""

    known: Known
    worth: float
    limit: float
    cut_out: float

    @classmethod
    def of(cls, stored: Tensor) -> ImageMemory:
        """See `Memory.of`."""
        asked = torch.arange(0, len(stored), -(-len(stored) // ASKED))
        records, noised = stored[asked], _noised(stored[asked])
        known = max(
            (Known.of(stored, ground) for ground in GROUNDS),
            key=lambda known: _least(noised, known),
        )
        copies = [noised, cropped(records, PLANTED)] if is_cut(records) else [noised]
        worth = min(max(min(_least(each, known) for each in copies), UNLIKE), ALIKE)
        others, planted = best(records, known, worth, own=asked), best(noised, known, worth)
        limit = _limit(others.likeness, SHARE, LOWEST, planted.likeness)
        cut_out = _limit(others.cut_out, CUT_OUT_SHARE, CUT_OUT_LOWEST)
        return cls(known, worth, limit, cut_out)

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], plain: dict[str, Any]) -> ImageMemory:
        """From what `tensors` and `plain` gave."""
        frames = Frames(*(tensors[name] for name in Frames._fields))
        known = Known.in_frames(tensors["stored"], plain["ground"], frames, tensors["rows"])
        return cls(known, **{name: plain[name] for name in LEARNED})

    def tensors(self) -> dict[str, Tensor]:
        """The arrays to be kept: with the frames, which take longer to find than to read."""
        known = self.known
        return {"stored": known.images, "rows": known.rows, **known.frames._asdict()}

    def plain(self) -> dict[str, Any]:
        """The plain data to be kept."""
        return {"ground": self.known.ground} | {name: getattr(self, name) for name in LEARNED}

    def nearest(self, stored: Tensor) -> Nearest:
        """See `Memory.nearest`."""
        found = best(stored, self.known, self.worth)
        copied = (found.likeness >= self.limit) | (found.cut_out >= self.cut_out)
        return Nearest(found.rows, (1 - found.correlation).clamp(min=0).float(), copied)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """None."""
        return []


def _least(copies: Tensor, known: Known) -> float:
    """The correlation that hardly any of the copies is below."""
    _, correlation = known.most_alike(frames_of(copies, known.ground))
    return correlation.quantile(UNSEEN).item()


def _limit(likeness: Tensor, share: float, lowest: float, planted: Tensor | None = None) -> float:
    """The likeness of a copy: a share of the training records is more like another.

    It is lowered until it catches most `planted` copies of training records, as long as no more
    than `MOST_ACCUSED` of the records are accused.
    """
    # Those that are equal to others do not count.
    different = likeness[likeness < HIGHEST]
    if not len(different):
        return HIGHEST
    limit = different.quantile(1 - share).item()
    if planted is not None:
        accusing = different.quantile(1 - MOST_ACCUSED).item()
        limit = min(limit, max(planted.quantile(MISSED).item(), accusing))
    return min(max(limit, lowest), HIGHEST)


def _noised(stored: Tensor) -> Tensor:
    """With normal noise of a tenth of the range, always the same."""
    noise = 25.5 * torch.randn(stored.shape, generator=generator("noised copies"))
    return (stored + noise).round().clamp(0, 255).to(torch.uint8)


def best(samples: Tensor, known: Known, worth: float, own: Tensor | None = None) -> Found:
    """What each sample is most like; from a correlation of `worth` on, it is looked at closely.

    `own` are the rows of the samples among the records, which they are not compared with.
    """
    frames = frames_of(samples, known.ground)
    places, correlation = known.most_alike(frames, own)
    close = torch.nonzero(correlation >= worth).flatten()
    likeness, cut_out = torch.zeros(2, len(samples), dtype=torch.float64)
    for part in torch.split(close, at_once(samples)):
        records = known.at(places[part])
        seen = Framed(samples[part], frames.take(part)).facing(records)
        if min(samples.shape[2:]) < SMALLEST:
            likeness[part] = (seen.images == records.images).flatten(1).all(dim=1).double()
        else:
            likeness[part] = likenesses(seen.images, records.images)
            cut_out[part] = cut_out_likenesses(seen, records)
    return Found(known.rows[places], correlation, likeness, cut_out)


def cut_out_likenesses(samples: Framed, records: Framed) -> Tensor:
    """How alike samples and what they may have been cut out of are, (N,), 0 where it is no crop."""
    sizes = samples.images.shape[2:]
    windows = guessed(samples.frames, records.frames, sizes)
    worth = torch.nonzero(is_crop(windows, sizes, rough=True)).flatten()
    likeness = torch.zeros(len(windows), dtype=torch.float64)
    found = registered(samples.images[worth], records.images[worth], windows[worth])
    likeness[worth] = found.double()
    return likeness


def likenesses(samples: Tensor, records: Tensor) -> Tensor:
    """How alike the low frequencies of two images (N, C, H, W) are, float64 (N,): 1 if one is the
    other, whatever its brightness and contrast, and but for noise."""
    height, width = samples.shape[2:]
    side = close_side(height, width)
    weights = _weights(height, width, side)
    sample = (frequencies(samples, side) * weights).flatten(1)[:, 1:]
    record = (frequencies(records, side) * weights).flatten(1)[:, 1:]
    # The contrast of the record that leaves the least of the sample.
    contrast = (sample * record).sum(1) / record.square().sum(1).clamp(min=1e-9)
    low = (sample - contrast[:, None] * record).square().sum(1)
    rest = grey(samples).flatten(1) - contrast[:, None] * grey(records).flatten(1)
    high = (rest - rest.mean(1, keepdim=True)).square().sum(1) - low
    noise = high.clamp(min=0) * sample.shape[1] / (height * width - side * side)
    noise = torch.minimum(noise, MOST_NOISE * low)
    alike = 1 - (low - noise) / (sample.square().sum(1) - noise).clamp(min=1e-9)
    # Rounded cosines leave a little of one colour.
    return torch.where(ImageModality().is_blank(samples), 0, alike)


@functools.cache
def _weights(height: int, width: int, side: int) -> Tensor:
    """What makes the frequencies' squares add up to the pixels' squares."""
    down = torch.full((side, 1), (2 / height) ** 0.5 / SCALE, dtype=torch.float64)
    across = torch.full((1, side), (2 / width) ** 0.5 / SCALE, dtype=torch.float64)
    down[0] /= 2**0.5
    across[:, 0] /= 2**0.5
    return down * across


def close_side(height: int, width: int) -> int:
    """How many frequencies are low: two thirds of the smaller side's at most."""
    return max(2, min(CLOSE, 2 * min(height, width) // 3))
