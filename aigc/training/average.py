"""The moving average of a model's weights: what is judged, registered and sampled from."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from aigc.models.contract import Model, Phase


class MovingAverage(nn.Module):
    """The average of a network's weights, one update a step.

    The decay of update n is min(decay, (1 + n) / (10 + n)), and update 0 is a copy, so that the
    random weights of the first steps are forgotten however short the training is.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        # On the CPU wherever the weights are: reading it must not wait for a device.
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.int64))
        self._decay = decay
        # Gathering the weights anew at each step, as AveragedModel does, takes ten times as long
        # as averaging them. These are the parameters themselves, whose data may be exchanged.
        self._averages: list[Tensor] = list(self.module.parameters())
        self._weights: list[Tensor] = list(network.parameters())

    def begins(self, phases: Sequence[Phase], steps: int) -> int:
        """The step to update it from, of so many: the first one at which a phase moves its weights.

        If it counted the steps before, it would take the random weights for long known ones.
        """
        mine = {id(weight) for weight in self._weights}
        return min(
            (
                phase.span(steps).start
                for phase in phases
                if not mine.isdisjoint(map(id, phase.parameters))
            ),
            default=0,
        )

    @torch.no_grad()
    def update(self) -> None:
        """Count the weights that the network has now."""
        done = int(self.n_averaged)
        decay = min(self._decay, (1 + done) / (10 + done)) if done else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        self.n_averaged += 1


def moving_average(model: Model) -> MovingAverage | None:
    """The average of `model.averaged()` with its decay, or None if the model asks for none."""
    decay = model.average_decay
    return None if decay is None else MovingAverage(model.averaged(), decay)


@contextlib.contextmanager
def averaged_weights(model: Model, average: MovingAverage | None) -> Iterator[Model]:
    """The model in evaluation mode, with the averaged weights in it while the block runs."""
    was_training = model.training
    model.eval()
    _swap(model, average)
    try:
        yield model
    finally:
        _swap(model, average)
        model.train(was_training)


def _swap(model: Model, average: MovingAverage | None) -> None:
    if average is None:
        return
    ours = model.averaged().parameters()
    theirs = average.module.parameters()
    for a, b in zip(ours, theirs, strict=True):
        a.data, b.data = b.data, a.data
