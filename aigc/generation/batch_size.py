"""How many samples a GPU makes at once: as many as still make it faster, found by trying."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch

from aigc.generation.plan import BATCH
from aigc.models.contract import Model
from aigc.seeding import sample_noise

GROWTH = 1.1
"""What a batch of twice the size has to be faster by, a sample, to be worth its memory."""

log = logging.getLogger(__name__)

_FOUND = WeakKeyDictionary[Model, tuple[int, int]]()
"""Of each model of this process the size, and up to which size it was looked for."""


def samples_at_once(
    model: Model, device: str, most: int, clock: Callable[[], float] = time.perf_counter
) -> int:
    """How many samples to compute together, a multiple of BATCH and not above `most`.

    On processors it is BATCH, so that the bytes of a sample depend on nothing but its seed. On a
    `device` of another type it is measured once for a model; the last bit of a sample may be
    another one there.
    """
    if device == "cpu":
        return BATCH
    size, limit = _FOUND.get(model, (BATCH, BATCH))
    if limit < most:
        size = largest(lambda count: _rate(model, count, clock), most)
        _FOUND[model] = size, most
        log.info("%d samples are made at once on %s", size, device)
    return min(size, max(BATCH, most))


def largest(rate: Callable[[int], float], most: int) -> int:
    """BATCH, doubled as long as `rate`, in samples a second, grows and memory lasts."""
    size, best = BATCH, 0.0
    try:
        while size <= most and (found := rate(size)) >= GROWTH * best:
            size, best = 2 * size, found
    except torch.OutOfMemoryError:
        pass
    return max(BATCH, size // 2)


def _rate(model: Model, count: int, clock: Callable[[], float]) -> float:
    """Samples a second in a batch of `count`, the second time that one is made."""
    device, classes = next(model.parameters()).device, model.layout.classes
    noise = sample_noise(range(count), model.noise_size).to(device)
    labels = (torch.arange(count) % classes).to(device) if classes else None
    # Copied to the processor's memory: before that nobody knows that a GPU has done its work.
    model.sample(noise, labels).cpu()
    began = clock()
    model.sample(noise, labels).cpu()
    return count / max(clock() - began, 1e-9)
