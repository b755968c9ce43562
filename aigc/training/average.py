"""The moving average of a model's weights: what is judged, registered and sampled from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from aigc.models.contract import Model


def moving_average(model: Model) -> AveragedModel | None:
    """The average of `model.averaged()` with its decay, or None if the model asks for none.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that the random weights of the
    first steps are forgotten however short the training is.
    """
    decay = model.average_decay
    if decay is None:
        return None

    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor | int) -> None:
        done = int(updates)  # a CPU tensor: no synchronisation with a device
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + done) / (10 + done)))

    return AveragedModel(model.averaged(), multi_avg_fn=update)  # type: ignore[arg-type]


@contextlib.contextmanager
def averaged_weights(model: Model, average: AveragedModel | None) -> Iterator[Model]:
    """The model in evaluation mode, with the averaged weights in it while the block runs."""
    was_training = model.training
    model.eval()
    _swap(model, average)
    try:
        yield model
    finally:
        _swap(model, average)
        model.train(was_training)


def _swap(model: Model, average: AveragedModel | None) -> None:
    if average is None:
        return
    ours = model.averaged().parameters()
    theirs = average.module.parameters()
    for a, b in zip(ours, theirs, strict=True):
        a.data, b.data = b.data, a.data
