"""The one training loop. It knows phases, and nothing of families, Ray, MLflow or files.

for each step:
    batch ← stream
    for each phase that is due:
        gradients of its loss with respect to its parameters alone, averaged over the workers
        one step of its optimizer
    moving average ← weights
at intervals: report the mean losses · show samples · save the state
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc.data.batches import Batch
from aigc.data.stream import Stream
from aigc.errors import TrainingDiverged
from aigc.seeding import Draws
from aigc.training.config import TrainingConfig
from aigc.training.state import TrainingState
from aigc.training.world import World


@dataclass(frozen=True)
class Runtime:
    """What the loop is handed: where it runs, and three ways to be heard.

    `report(step, figures)` and `save(state)` are called on every worker, `show(state)` on the
    first alone; who is asked and does not write simply returns.
    """

    world: World
    report: Callable[[int, Mapping[str, float]], None]
    show: Callable[[TrainingState], None]
    save: Callable[[TrainingState], None]


def train(state: TrainingState, stream: Stream, config: TrainingConfig, runtime: Runtime) -> None:
    """Train from the state's step to `config.steps`.

    The last picture is left to who called: what is fitted after the last step is not in it yet.
    Raises TrainingDiverged when a reported loss is not a finite number.
    """
    state.model.train()
    meter = Meter(runtime.world, config.batch_size, state.step)
    if state.step == 0 and runtime.world.is_first:
        runtime.show(state)
    for batch, position in stream.batches(state.position):
        if state.step >= config.steps:
            break
        _step(state, batch, config, runtime.world, meter)
        state.step, state.position = state.step + 1, position
        _speak(state, config, runtime, meter)


def _step(
    state: TrainingState, batch: Batch, config: TrainingConfig, world: World, meter: Meter
) -> None:
    draws = Draws(config.seed, state.step, world.rank, world.size)
    for phase, optimizer in zip(state.phases, state.optimizers, strict=True):
        if state.step % phase.every:
            continue
        losses = phase.loss(batch, draws, state.step / config.steps)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward(inputs=list(phase.parameters))  # type: ignore[no-untyped-call]
        world.average_gradients(phase.parameters)
        optimizer.step()
        meter.add(phase.name, losses)
    if state.average is not None:
        state.average.update()


def _speak(state: TrainingState, config: TrainingConfig, runtime: Runtime, meter: Meter) -> None:
    last = state.step == config.steps
    if last or state.step % config.report_every == 0:
        runtime.report(state.step, meter.read(state.step))
    if runtime.world.is_first and not last and state.step % config.sample_every == 0:
        runtime.show(state)
    if last or state.step % config.checkpoint_every == 0:
        runtime.save(state)


class Meter:
    """Means of the losses between two readings, kept on the device: nothing waits inside a step."""

    def __init__(self, world: World, batch_size: int, step: int = 0) -> None:
        self._world, self._batch_size = world, batch_size
        self._values: defaultdict[str, list[Tensor]] = defaultdict(list)
        self._started, self._step = time.perf_counter(), step

    def add(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of one step of a phase."""
        for name, value in losses.items():
            self._values[f"{phase}/{name}"].append(value.detach())

    def read(self, step: int) -> dict[str, float]:
        """The means over all workers since the last reading, and `records_per_second`."""
        means = torch.stack([torch.stack(values).mean() for values in self._values.values()])
        figures = dict(zip(self._values, self._world.mean(means).tolist(), strict=True))
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise TrainingDiverged(
                    f"{name} is {figure} at step {step}",
                    "Lower the learning rate of that phase or change training.seed",
                )
        now = time.perf_counter()
        records = (step - self._step) * self._batch_size
        figures["records_per_second"] = records / (now - self._started)
        self._started, self._step = now, step
        self._values.clear()
        return figures
