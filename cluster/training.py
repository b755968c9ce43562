"""Training on a place: what one worker does, and what is kept of it."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from aigc.data.batches import Batch
from aigc.data.catalog import Dataset, find
from aigc.data.files import write_text, writing
from aigc.data.mixture import Mixture
from aigc.data.stream import Stream, StreamConfig
from aigc.errors import WorkspaceUnwritable
from aigc.modalities import modality
from aigc.models import FAMILIES, ModelConfig, build
from aigc.models.artifact import save_model
from aigc.models.contract import Model
from aigc.seeding import sample_noise
from aigc.seeds import derive
from aigc.training.average import averaged_weights
from aigc.training.checkpoint import CheckpointWriter, restore_newest, restore_step
from aigc.training.collapse import CollapseWatch
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, Sums, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.code import code_digest, require_same_code
from cluster.journal import Journal
from cluster.locks import exclusive
from cluster.logs import logging_to
from cluster.system import SystemWatch
from cluster.workspace import RunFolder

SHEET_RECORDS = 100
STOP_SECONDS = 0.5
"""Between two looks for the request to stop."""
LOG_SECONDS = 10.0
"""Between two lines of the log that say how far a training is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRequest:
    """What every worker of a training is told. Plain data: it travels between processes.

    `mixture` are the shares of every batch that other datasets have.
    """

    datasets: Path
    dataset: str
    model: ModelConfig
    training: TrainingConfig
    run: RunFolder
    stream: StreamConfig = field(default_factory=StreamConfig)
    mixture: Mapping[str, float] = field(default_factory=dict)
    code: str = field(default_factory=code_digest)

    def open_stream(self, world: World) -> Stream:
        """This worker's part of the training split. Raises DataError."""
        others = [(find(self.datasets, name), share) for name, share in self.mixture.items()]
        return Stream(
            Mixture(find(self.datasets, self.dataset), *others),
            "train",
            self.training.batch_size,
            self.training.seed,
            rank=world.rank,
            size=world.size,
            window=self.stream.window,
            drop_last=self.stream.drop_last,
            device=world.device,
        )


def train_worker(request: TrainingRequest, world: World) -> None:
    """One worker of a training, from the newest checkpoint to the finished model.

    The first worker writes the journal, the pictures, the checkpoints and the model.
    """
    with logging_to(request.run.logs, f"worker-{world.rank}"):
        log.info("worker %d of %d on %s", world.rank, world.size, world.device)
        _work(request, world)


def _work(request: TrainingRequest, world: World) -> None:
    require_same_code(request.code)
    dataset = find(request.datasets, request.dataset)
    config = request.training
    model = build(request.model, dataset.manifest.layout, config.seed).to(world.device)
    state = TrainingState(model)
    stream = request.open_stream(world)
    if not world.is_first:
        silent = Runtime(world, _ignore, _ignore, _ignore)
        train(state, stream, config, silent, _go_on(request, state, world))
        return
    with (
        SystemWatch(request.run.path, world.device) as system,
        Recorder(request.run, config.seed, _watch(request, dataset), system) as recorder,
    ):
        runtime = Runtime(
            world, recorder.report, recorder.show, recorder.save, StopRequest(request.run)
        )
        train(state, stream, config, runtime, _go_on(request, state, world))
        _finish(state, dataset, request)
        recorder.show(state)


def _go_on(request: TrainingRequest, state: TrainingState, world: World) -> Sums:
    """Restore the state from where the run was; all workers from the same checkpoint.

    The first worker chooses: while it is asked, a dying one may still complete another.
    """
    run = request.run
    plain = restore_newest(run.checkpoints, state) if world.is_first else None
    step = _agreed(plain["step"] if plain else 0, world)
    if step and not world.is_first:
        plain = restore_step(run.checkpoints, state, step)
    if plain is None:
        if state.model.prepares:
            state.model.prepare(_one_pass(request, world.device))
        return {}
    log.info("going on from the checkpoint of step %d", step)
    if world.is_first and run.journal.stat().st_size < plain["journal"]:
        log.warning("%s has lost figures since the checkpoint of step %d", run.journal, step)
    return {name: (total, count) for name, (total, count) in plain["sums"].items()}


def _agreed(number: int, world: World) -> int:
    """The first worker's number, on every worker."""
    share = float(number * world.size) if world.is_first else 0.0
    return round(world.mean(torch.tensor(share, dtype=torch.float64, device=world.device)).item())


class StopRequest:
    """Whether the file is there that asks a training to stop; looked for now and then."""

    def __init__(self, run: RunFolder) -> None:
        self._file, self._next = run.stop, 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + STOP_SECONDS
        return self._file.exists()


class Recorder:
    """What the first worker writes down, in the run's folder.

    A worker whose driver was killed may live on for a while: its successor waits until it is gone.
    """

    def __init__(
        self, run: RunFolder, seed: int, watch: CollapseWatch | None, system: SystemWatch
    ) -> None:
        self._run, self._seed, self._watch, self._system = run, seed, watch, system
        self._logged = time.monotonic()
        self._lock = ExitStack()
        self._lock.enter_context(exclusive(run.writer_lock))
        self._journal = Journal(run.journal)
        self._checkpoints = CheckpointWriter(run.checkpoints)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Wait for what is being written. Raises WorkspaceUnwritable, unless another error is
        on its way, which is what must be heard."""
        try:
            self._checkpoints.close()
        except WorkspaceUnwritable as refusal:
            if error is None:
                raise
            log.warning("the last checkpoint is missing: %s", refusal)
        finally:
            self._journal.close()
            self._lock.close()

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures into the journal, with those of the machine; now and then into the log."""
        if self._watch is not None:
            figures = self._watch.hear(figures)
        self._journal.report(step, {**figures, **self._system.figures()})
        if time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            log.info("step %d: %s", step, _in_words(figures))

    def show(self, state: TrainingState) -> None:
        """A contact sheet of the same noise at every call, by the averaged weights; texts also as
        a text.

        Raises TrainingCollapsed if the samples have lost their variety and that is to end it.
        """
        if state.model.noise_size == 0:
            return
        layout = state.model.layout
        with averaged_weights(state.model, state.average) as model:
            stored = preview(model, self._seed)
        picture = self._run.samples / f"step-{state.step:08d}.png"
        transcript = modality(layout.modality).transcript(stored)
        if transcript is not None:
            write_text(picture.with_suffix(".txt"), transcript)
        with writing(picture) as partial:
            modality(layout.modality).sheet(stored).save(partial, "PNG")
        self._journal.show(state.step, f"{self._run.samples.name}/{picture.name}")
        if self._watch is not None:
            with averaged_weights(state.model, state.average) as model:
                self._watch.look(model, state.step)

    def save(self, state: TrainingState, sums: Sums) -> None:
        """A checkpoint, and how long the journal is at it."""
        self._checkpoints.save(state, {"sums": sums, "journal": self._journal.sync()})


def _in_words(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _watch(request: TrainingRequest, dataset: Dataset) -> CollapseWatch | None:
    """What the first worker looks for a collapse with, if that is asked and it can be seen."""
    limits = request.training.collapse
    visible = dataset.manifest.layout.modality == "image"
    if limits is None or not visible or not FAMILIES[request.model.family].generative:
        return None
    stream = request.open_stream(World())
    epoch = itertools.islice(stream.batches(), stream.batches_per_epoch)
    return CollapseWatch(limits, (batch for batch, _ in epoch), request.training.seed)


def _ignore(*_: Any) -> None:
    """What a worker that does not write does with what it is handed."""


@torch.inference_mode()
def preview(model: Model, seed: int, count: int = SHEET_RECORDS) -> torch.Tensor:
    """Stored samples of fixed noise, the classes in turn, so that each column is one class."""
    device = next(model.parameters()).device
    noise = sample_noise([derive(seed, "preview", i) for i in range(count)], model.noise_size)
    classes = model.layout.classes
    labels = (torch.arange(count) % classes).to(device) if classes else None
    samples = model.sample(noise.to(device), labels)
    return modality(model.layout.modality).encode(samples).cpu()


def _finish(state: TrainingState, dataset: Dataset, request: TrainingRequest) -> None:
    """Fit what is fitted last, on the averaged weights, and write the model."""
    with averaged_weights(state.model, state.average) as model:
        device = next(model.parameters()).device
        model.finish(_one_pass(request, device), request.training.seed)
        trained_on: dict[str, Any] = {
            "dataset": dataset.reference,
            "digest": dataset.manifest.digest,
            "mixture": dict(request.mixture),
        }
        save_model(request.run.model, model, request.model, trained_on)


def _one_pass(request: TrainingRequest, device: torch.device) -> Iterator[Batch]:
    """The training data once, all of it on this worker."""
    stream = request.open_stream(World(device=device))
    batches = itertools.islice(stream.batches(), stream.batches_per_epoch)
    return (batch for batch, _ in batches)
