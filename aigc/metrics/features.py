"""Records as a fixed extractor sees them, and what a metric is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aigc.metrics.likelihood import Likelihood

BATCH_SIZE = 256


class Extractor(Protocol):
    """A trained classifier, in evaluation mode, whose weights never change.

    `records` are float32 in [−1, 1], (B, *shape), on the extractor's device.
    """

    def features(self, records: Tensor) -> Tensor:
        """The activations before the last layer, float32, (B, D)."""
        ...

    def logits(self, records: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the classes, float32, (B, classes)."""
        ...


class Features(NamedTuple):
    """N records through the extractor, on the CPU.

    `features` float32, (N, D); `probabilities` of the classes float32, (N, classes).
    """

    features: Tensor
    probabilities: Tensor

    def first(self, count: int) -> Features:
        """The first `count` records."""
        return Features(self.features[:count], self.probabilities[:count])


NOTHING = Features(torch.empty(0, 0), torch.empty(0, 0))
"""The features of no records."""


@dataclass(frozen=True)
class Evidence:
    """All that the metrics of one model may look at, under one extractor.

    The features are empty when no metric looks at samples. `likelihood` is what the model makes
    of the held-out records themselves; None when nobody asks for that.
    """

    generated: Features = NOTHING
    held_out: Features = NOTHING
    training: Features = NOTHING
    likelihood: Likelihood | None = None


def extract(extractor: Extractor, records: Iterable[Tensor]) -> Features:
    """The features of `records`, which come in pieces of any size, (B, *shape).

    The extractor always sees batches of 256, so that how the records arrived cannot change the
    last bits of a figure. No records give no rows.
    """
    with torch.inference_mode():
        rows = [_look(extractor, batch) for batch in _rebatched(records)]
    if not rows:
        return NOTHING
    features, probabilities = zip(*rows, strict=True)
    return Features(torch.cat(features), torch.cat(probabilities))


def _look(extractor: Extractor, records: Tensor) -> tuple[Tensor, Tensor]:
    features = extractor.features(records).float().cpu()
    return features, extractor.logits(records).float().softmax(dim=1).cpu()


def _rebatched(records: Iterable[Tensor]) -> Iterator[Tensor]:
    waiting: Tensor | None = None
    for piece in records:
        waiting = piece if waiting is None else torch.cat([waiting, piece])
        while len(waiting) >= BATCH_SIZE:
            yield waiting[:BATCH_SIZE]
            waiting = waiting[BATCH_SIZE:]
    if waiting is not None and len(waiting):
        yield waiting
