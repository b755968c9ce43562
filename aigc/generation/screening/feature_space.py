"""Images as an extractor sees them: where the nearest training record is looked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aigc.errors import ModelError
from aigc.generation.screening.neighbours import product_type
from aigc.metrics.features import BATCH_SIZE, Extractor
from aigc.modalities.image import ImageModality


@torch.inference_mode()
def features_of(stored: Tensor, extractor: Extractor) -> Tensor:
    """The features of images uint8 (N, C, H, W), float32 (N, D).

    They are computed in 16 bits where the processor multiplies those, in half of the time: that
    changes how far the nearest record is by a hundredth, and copies are not told by it.
    """
    is_short = product_type() == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=is_short):
        found = [extractor.features(_decoded(part)).float().cpu() for _, part in batches(stored)]
    return torch.cat(found)[: len(stored)].clone()


def _decoded(stored: Tensor) -> Tensor:
    """Images in −1 … 1, in that order of memory in which they are convolved soonest."""
    return ImageModality().decode(stored).to(memory_format=torch.channels_last)


def batches(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Where each batch begins and its rows, the last filled up with zeros.

    There is at least one, and all are whole, because the last bit of a matrix product may
    depend on the rows beside it.
    """
    for start in range(0, max(len(rows), 1), BATCH_SIZE):
        part = rows[start : start + BATCH_SIZE]
        missing = BATCH_SIZE - len(part)
        yield start, torch.cat([part, part.new_zeros(missing, *part.shape[1:])])


def required(extractor: Extractor | None) -> Extractor:
    """The extractor. Raises ModelError when there is none."""
    if extractor is None:
        raise ModelError(
            "Nearest training images are looked for in the features of an extractor, and there is "
            "none",
            "Name a model of the family classifier as evaluation.extractor",
        )
    return extractor
