"""The one training loop. It knows phases, and nothing of families, Ray, MLflow or files.

for each step:
    batch ← stream
    for each phase whose span the step is in, and that is due:
        gradients of its loss with respect to its parameters alone, added up over the parts of the
            batch, and averaged over the workers
        their norm, at the phase's last step before a report
        one step of its optimizer
    moving average ← weights
at intervals: report the mean losses and the norms · show samples · save the state
when asked to stop: save the state · leave
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from aigc.data.batches import Batch
from aigc.data.stream import Stream
from aigc.errors import Preempted, TrainingDiverged
from aigc.models.contract import Phase
from aigc.seeding import Draws
from aigc.training.arithmetic import Arithmetic
from aigc.training.config import TrainingConfig
from aigc.training.gradients import averager
from aigc.training.state import TrainingState
from aigc.training.world import World

Sums = dict[str, tuple[float, int]]
"""Of each loss: the sum of its values, averaged over the workers, and how many steps had it."""

CLOCKED = "time/"
"""Before the names of figures that a clock gives. All others are of the mathematics: a run that was
stopped and resumed has them bit for bit as one that never was."""

Each = TypeVar("Each")


@dataclass(frozen=True)
class Runtime:
    """What the loop is handed: where it runs, and three ways to be heard.

    `report(step, figures)` and `save(state, sums)` are called on every worker, `show(state)` on
    the first alone; who is asked and does not write simply returns. `sums` are the losses since
    the last report, for `train` to go on from. `stopping` is asked after each step; one worker
    that says yes is enough, since all have the same state.
    """

    world: World
    report: Callable[[int, Mapping[str, float]], None]
    show: Callable[[TrainingState], None]
    save: Callable[[TrainingState, Sums], None]
    stopping: Callable[[], bool] = lambda: False


def train(
    state: TrainingState,
    stream: Stream,
    config: TrainingConfig,
    runtime: Runtime,
    sums: Sums | None = None,
) -> None:
    """Train from the state's step, and the `sums` saved with it, to `config.steps`.

    The last picture is left to who called: what is fitted after the last step is not in it yet.
    Raises TrainingDiverged when a reported loss is not a finite number, and Preempted, after the
    state was handed to `save`, when it was asked to stop.
    """
    state.model.train()
    steps = _Steps(state, config, runtime)
    meter = Meter(runtime.world, config.batch_size, state.step, sums)
    if state.step == 0 and runtime.world.is_first:
        runtime.show(state)
    for batch, position in meter.awaiting(stream.batches(state.position)):
        if state.step >= config.steps:
            break
        steps.take(batch, meter)
        state.step, state.position = state.step + 1, position
        _speak(state, config, runtime, meter)
        if state.step < config.steps and runtime.stopping():
            _leave(state, runtime, meter)


class _Steps:
    """The steps of a training: what each phase does with a batch."""

    def __init__(self, state: TrainingState, config: TrainingConfig, runtime: Runtime) -> None:
        self._state, self._config, self._world = state, config, runtime.world
        self._spans = [phase.span(config.steps) for phase in state.phases]
        self._averagers = [averager(phase.parameters, runtime.world) for phase in state.phases]
        self._averaged_from = (
            state.average.begins(state.phases, config.steps) if state.average is not None else 0
        )
        self._arithmetic = Arithmetic(config.execution, runtime.world.device)
        self._arithmetic.arrange(state.model)

    def take(self, batch: Batch, meter: Meter) -> None:
        """One step: every phase that is due, and the moving average."""
        state = self._state
        parts = list(self._parts(batch))
        for number, phase in enumerate(state.phases):
            if state.step in self._spans[number] and state.step % phase.every == 0:
                self._run(number, parts, meter)
        if state.average is not None and state.step >= self._averaged_from:
            state.average.update()

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, Draws]]:
        """The parts of this worker's batch, each with the draws that its records have in the
        global batch, however it is cut up."""
        count, world = self._config.accumulate, self._world
        for number, part in enumerate(batch.parts(count)):
            rank, size = world.rank * count + number, world.size * count
            draws = Draws(self._config.seed, self._state.step, rank, size)
            yield self._arithmetic.laid_out(part), draws

    def _run(self, number: int, parts: Sequence[tuple[Batch, Draws]], meter: Meter) -> None:
        phase, optimizer = self._state.phases[number], self._state.optimizers[number]
        span = self._spans[number]
        done = self._state.step - span.start
        optimizer.zero_grad()
        buffers = self._buffers() if len(parts) > 1 else []
        for part, draws in parts[:-1]:
            self._backward(phase, part, draws, done / len(span), meter)
            _restore(buffers)
        with self._averagers[number].averaging():
            self._backward(phase, *parts[-1], done / len(span), meter)
        if self._is_last_before_report(phase, span):
            meter.add(phase.name, {"gradient_norm": optimizer.gradient_norm()})
        # In the middle of the step: neither the first rate nor the last one is 0.
        optimizer.step((done + 0.5) / len(span))

    def _is_last_before_report(self, phase: Phase, span: range) -> bool:
        """Whether this is the phase's last run before a report: a norm a report is enough, and
        costs nothing beside all its steps."""
        step, every = self._state.step, self._config.report_every
        following = step + phase.every
        report = min((step // every + 1) * every, self._config.steps)
        return following >= report or following not in span

    def _buffers(self) -> list[tuple[Tensor, Tensor]]:
        """The buffers and their values: what a forward moves, as spectral normalisation's power
        iteration does, has to move once for the whole batch."""
        return [(buffer, buffer.clone()) for buffer in self._state.model.buffers()]

    def _backward(
        self, phase: Phase, batch: Batch, draws: Draws, progress: float, meter: Meter
    ) -> None:
        with self._arithmetic.autocast():
            losses = phase.loss(batch, draws, progress)
        loss = losses["loss"]
        if self._config.accumulate > 1:
            loss = loss / self._config.accumulate
        loss.backward(inputs=list(phase.parameters))  # type: ignore[no-untyped-call]
        meter.add(phase.name, losses)


def _restore(buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
    for buffer, value in buffers:
        buffer.copy_(value)


def _speak(state: TrainingState, config: TrainingConfig, runtime: Runtime, meter: Meter) -> None:
    last = state.step == config.steps
    if last or state.step % config.report_every == 0:
        runtime.report(state.step, meter.read(state.step))
    if runtime.world.is_first and not last and state.step % config.sample_every == 0:
        runtime.show(state)
    if last or state.step % config.checkpoint_every == 0:
        sums = meter.sums(state.step, runtime.world)
        with meter.saving():
            runtime.save(state, sums)


def _leave(state: TrainingState, runtime: Runtime, meter: Meter) -> None:
    # The other workers do not know of it, and cannot be asked for their losses: ours stand in.
    runtime.save(state, meter.sums(state.step, World()))
    raise Preempted(
        f"stopped at step {state.step}, which is saved", "Submit the same spec again to go on"
    )


class Meter:
    """Means of the losses between two readings, kept on the device: nothing waits inside a step.

    Beside them the seconds that this worker waited for its batches, and for its checkpoints.
    """

    def __init__(
        self, world: World, batch_size: int, step: int = 0, sums: Sums | None = None
    ) -> None:
        self._world, self._batch_size = world, batch_size
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        for name, (total, count) in (sums or {}).items():
            self._totals[name], self._counts[name] = self._number(total), count
        self._started, self._step = time.perf_counter(), step
        self._waited = self._saved = 0.0

    def awaiting(self, batches: Iterable[Each]) -> Iterator[Each]:
        """The batches; the time that each takes to come counts as waiting for data."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield batch

    @contextmanager
    def saving(self) -> Iterator[None]:
        """The time of the block counts as spent on a checkpoint."""
        started = time.perf_counter()
        yield
        self._saved += time.perf_counter() - started

    def add(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of one step of a phase."""
        for loss, value in losses.items():
            name = f"{phase}/{loss}"
            if name not in self._totals:
                self._totals[name], self._counts[name] = self._number(0.0), 0
            self._totals[name] += value.detach()
            self._counts[name] += 1

    def sums(self, step: int, world: World) -> Sums:
        """What was counted since the last reading, over the workers of `world`.

        Raises TrainingDiverged, so that no checkpoint is made of such a state.
        """
        if not self._totals:
            return {}
        totals = world.mean(torch.stack(list(self._totals.values()))).tolist()
        sums = {
            name: (total, self._counts[name])
            for name, total in zip(self._totals, totals, strict=True)
        }
        _require_finite({name: total / count for name, (total, count) in sums.items()}, step)
        return sums

    def read(self, step: int) -> dict[str, float]:
        """The means over all workers since the last reading, and the figures of the clock."""
        sums = self.sums(step, self._world)
        figures = {name: total / count for name, (total, count) in sums.items()}
        figures |= self._clocked(step)
        self._totals.clear()
        self._counts.clear()
        return figures

    def _clocked(self, step: int) -> dict[str, float]:
        """Records a second over all workers, and the shares of the time that this worker waited."""
        now = time.perf_counter()
        seconds, records = now - self._started, (step - self._step) * self._batch_size
        figures = {
            f"{CLOCKED}records_per_second": records / seconds,
            f"{CLOCKED}data_wait_share": self._waited / seconds,
            f"{CLOCKED}checkpoint_share": self._saved / seconds,
        }
        self._started, self._step = now, step
        self._waited = self._saved = 0.0
        return figures

    def _number(self, value: float) -> Tensor:
        """Of double precision: a sum of thousands of losses is as exact as each of them."""
        return torch.tensor(value, dtype=torch.float64, device=self._world.device)


def _require_finite(figures: Mapping[str, float], step: int) -> None:
    for name, figure in figures.items():
        if not math.isfinite(figure):
            raise TrainingDiverged(
                f"{name} is {figure} at step {step}",
                "Lower the learning rate of that phase or change training.seed",
            )
