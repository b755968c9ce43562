"""Training images, and which samples copy one of them: as it is, flipped, noised or cropped.

A sample is compared with all of them by the correlation of the lowest 8 × 8 frequencies, without
regard to which side is left. The most alike is then looked at closely, as it is and flipped: what
is left of the sample when the record is taken away, at the lowest 16 × 16 frequencies, less what
noise of the strength at the higher ones would leave there. So a noised copy is told from another
stroke of the same shape, whose difference is all at low frequencies.

What was cropped or moved is looked for by the correlation of frames; then the best record's
window that shows most of the sample is found, and compared with the sample pixel by pixel.

From when on that is a copy is learned from the training records, each compared with all others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aigc.generation.screening.frames import Frames, framed_crops, frames_of
from aigc.generation.screening.frequencies import AT_ONCE, SCALE, frequencies, grey
from aigc.generation.screening.nearest import Nearest
from aigc.generation.screening.neighbours import Neighbours
from aigc.generation.screening.registration import guessed, is_crop, registered
from aigc.modalities.image import ImageModality
from aigc.seeding import generator

SKETCH, CLOSE = 8, 16
"""The lowest frequencies that candidates are found by, and that are looked at closely."""

UNSEEN, UNLIKE, ALIKE = 0.001, 0.9, 0.98
"""The share of noised copies that are looked at closely no longer, because the correlation of their
sketches is too low, and bounds of that correlation."""

MOST_NOISE = 0.9
"""The share of a difference that may be called noise."""

SHARE, LOWEST, HIGHEST = 0.002, 0.9, 0.999
"""The share of the records that may be accused, wrongly, and bounds of the limit: what is less
alike is no copy, what is more alike always is one."""

WORTH_REGISTERING = 0.985
"""The correlation of frames below which no window is looked for: that of copies is higher."""

CUT_OUT_SHARE, CUT_OUT_LOWEST, CUT_OUT_HIGHEST = 0.0005, 0.99, 0.999
"""Of what was cut out: the share of the records that may be accused, and its limit's bounds."""

MISSED, MOST_ACCUSED = 0.04, 0.007
"""Shares of noised copies that may be missed, and of records that may be accused for their sake."""

ASKED = 5000
"""Training records by which the limits are set."""


class Known(NamedTuple):
    """Records to compare with: uint8 (N, C, H, W), their sketches, and the correlation with one of
    these from which on the record is worth a close look."""

    images: Tensor
    sketches: Neighbours
    worth: float

    @classmethod
    def of(cls, images: Tensor, worth: float) -> Known:
        """The records and their sketches."""
        return cls(images, Neighbours(sketches(images)), worth)


class Framed(NamedTuple):
    """Records to find what was cut out of: uint8 (N, C, H, W), the frames of them and their crops,
    which record each is of, and how those look."""

    images: Tensor
    frames: Frames
    rows: Tensor
    looks: Neighbours

    @classmethod
    def of(cls, images: Tensor) -> Framed:
        """The records in their frames."""
        frames, rows = framed_crops(images)
        return cls(images, frames, rows, Neighbours(frames.looks))

    def places(self, rows: Tensor) -> Tensor:
        """Where the frames of records, and of their crops or those again, are, (M, 2)."""
        count = len(self.images)
        last = torch.arange(count).scatter_(0, self.rows, torch.arange(len(self.rows)))
        return torch.stack([rows, last[rows]], dim=1)


class Found(NamedTuple):
    """The record that each sample looks most like, int64 (N,); their correlation, float64 (N,), 0
    where none was found; and how alike they are when looked at closely, (N,), at most 1."""

    rows: Tensor
    correlation: Tensor
    likeness: Tensor


@dataclass(frozen=True)
class ImageMemory:
    """Stored records (N, C, H, W), the correlation from which on a record is worth a close look,
    and the likeness of a copy, and of what was cut out."""

    stored: Tensor
    worth: float
    limit: float
    cut_out: float

    @classmethod
    def of(cls, stored: Tensor) -> ImageMemory:
        """See `Memory.of`."""
        worth = worth_a_look(stored)
        return cls(stored, worth, limit_of(Known.of(stored, worth)), cut_out_limit_of(stored))

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], plain: dict[str, Any]) -> ImageMemory:
        """From what `tensors` and `plain` gave."""
        return cls(tensors["stored"], plain["worth"], plain["limit"], plain["cut_out"])

    def tensors(self) -> dict[str, Tensor]:
        """The arrays to be kept."""
        return {"stored": self.stored}

    def plain(self) -> dict[str, Any]:
        """The plain data to be kept."""
        return {"worth": self.worth, "limit": self.limit, "cut_out": self.cut_out}

    def nearest(self, stored: Tensor) -> Nearest:
        """See `Memory.nearest`."""
        found, cut_out = best(stored, self.known), best_cut_out(stored, self.framed)
        is_copy = found.likeness >= self.limit
        is_cut_out = (cut_out.likeness >= self.cut_out) & ~is_copy
        index = torch.where(is_cut_out, cut_out.rows, found.rows)
        correlation = torch.where(is_cut_out, cut_out.correlation, found.correlation)
        distance = (1 - correlation).clamp(min=0).float()
        return Nearest(index, distance, is_copy | is_cut_out)

    @functools.cached_property
    def known(self) -> Known:
        """The records and their sketches."""
        return Known.of(self.stored, self.worth)

    @functools.cached_property
    def framed(self) -> Framed:
        """The records in frames of their own."""
        return Framed.of(self.stored)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """None."""
        return []


def worth_a_look(stored: Tensor) -> float:
    """The correlation that hardly any noised copy of a training record is below."""
    noised = sketches(_noised(stored[_asked(stored)]))
    _, correlation = Neighbours(sketches(stored)).most_alike(noised)
    return min(max(correlation.quantile(UNSEEN).item(), UNLIKE), ALIKE)


def limit_of(known: Known) -> float:
    """The likeness of a copy: a share of the training records is more like another.

    It is lowered until it catches most noised copies of training records, as long as no more than
    `MOST_ACCUSED` of the records are accused.
    """
    asked = _asked(known.images)
    records = known.images[asked]
    likeness = best(records, known, own=asked).likeness
    # Those that are equal to others do not count.
    different = likeness[likeness < HIGHEST]
    if not len(different):
        return HIGHEST
    planted = best(_noised(records), known).likeness
    lowered = max(planted.quantile(MISSED).item(), different.quantile(1 - MOST_ACCUSED).item())
    limit = min(different.quantile(1 - SHARE).item(), lowered)
    return min(max(limit, LOWEST), HIGHEST)


def cut_out_limit_of(stored: Tensor) -> float:
    """The likeness of what was cut out: a share of the training records is more like another."""
    asked = _asked(stored)
    likeness = best_cut_out(stored[asked], Framed.of(stored), own=asked).likeness
    different = likeness[likeness < CUT_OUT_HIGHEST]
    quantile = different.quantile(1 - CUT_OUT_SHARE).item() if len(different) else CUT_OUT_HIGHEST
    return min(max(quantile, CUT_OUT_LOWEST), CUT_OUT_HIGHEST)


def _asked(stored: Tensor) -> Tensor:
    """The rows of the records that limits are set by."""
    return torch.arange(0, len(stored), -(-len(stored) // ASKED))


def _noised(stored: Tensor) -> Tensor:
    """With normal noise of a tenth of the range, always the same."""
    noise = 25.5 * torch.randn(stored.shape, generator=generator("noised copies"))
    return (stored + noise).round().clamp(0, 255).to(torch.uint8)


def best(samples: Tensor, known: Known, own: Tensor | None = None) -> Found:
    """What each sample is most like, as it is or flipped.

    `own` are the rows of the samples among the records, which they are not compared with.
    """
    others = None if own is None else own[:, None]
    rows, correlation = known.sketches.most_alike(sketches(samples), own=others)
    likeness = torch.zeros(len(samples), dtype=torch.float64)
    for part in torch.split(torch.nonzero(correlation >= known.worth).flatten(), AT_ONCE):
        images, records = samples[part], known.images[rows[part]]
        both = likenesses(images, records), likenesses(images.flip(-1), records)
        likeness[part] = torch.maximum(*both)
    return Found(rows, correlation, likeness)


def best_cut_out(samples: Tensor, known: Framed, own: Tensor | None = None) -> Found:
    """What each sample seems to be cut out of.

    `own` are the rows of the samples among the records, which they are not compared with.
    """
    frames, sizes = frames_of(samples), samples.shape[2:]
    others = None if own is None else known.places(own)
    places, correlation = known.looks.most_alike(frames.looks, WORTH_REGISTERING, others)
    windows, rows = guessed(frames, known.frames.take(places), sizes), known.rows[places]
    is_worth = (correlation >= WORTH_REGISTERING) & is_crop(windows, sizes, rough=True)
    worth = torch.nonzero(is_worth).flatten()
    likeness = torch.zeros(len(samples))
    likeness[worth] = registered(samples[worth], known.images[rows[worth]], windows[worth])
    return Found(rows, correlation, likeness)


def sketches(images: Tensor) -> Tensor:
    """The lowest frequencies but the constant of images (N, C, H, W), of norm 1, float32 (N, 63).

    An image and its mirror image have the same. Of an image of one colour there are none: all are
    0.
    """
    side = min(SKETCH, close_side(*images.shape[2:]))
    low = frequencies(images, side) * _weights(*images.shape[2:], side)
    # Where left and right are exchanged, odd frequencies change their signs.
    low[:, :, 1::2].abs_()
    return normalize(low.flatten(1)[:, 1:], dim=1).float()


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
