"""Training on a place: what one worker does, and what is kept of it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aigc.data.batches import Batch
from aigc.data.catalog import Dataset, find
from aigc.data.files import writing
from aigc.data.mixture import Mixture
from aigc.data.stream import Stream, StreamConfig
from aigc.modalities import modality
from aigc.models import FAMILIES, ModelConfig, build
from aigc.models.artifact import save_model
from aigc.models.contract import Model
from aigc.seeding import derive, sample_noise
from aigc.training.average import averaged_weights
from aigc.training.checkpoint import restore_newest, save_checkpoint
from aigc.training.collapse import CollapseWatch
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.code import code_digest, require_same_code
from cluster.journal import Journal
from cluster.workspace import RunFolder

SHEET_RECORDS = 100

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
    require_same_code(request.code)
    dataset = find(request.datasets, request.dataset)
    config = request.training
    model = build(request.model, dataset.manifest.layout, config.seed).to(world.device)
    state = TrainingState(model)
    if not restore_newest(request.run.checkpoints, state) and model.prepares:
        model.prepare(_one_pass(request, world.device))
    stream = request.open_stream(world)
    recorder = (
        Recorder(request.run, config.seed, _watch(request, dataset)) if world.is_first else None
    )
    try:
        train(state, stream, config, _runtime(world, recorder))
        if recorder is not None:
            _finish(state, dataset, request)
            recorder.show(state)
    finally:
        if recorder is not None:
            recorder.close()


class Recorder:
    """What the first worker writes down, in the run's folder."""

    def __init__(self, run: RunFolder, seed: int, watch: CollapseWatch | None) -> None:
        self._run, self._seed, self._watch = run, seed, watch
        self._journal = Journal(run.journal)

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures into the journal."""
        if self._watch is not None:
            figures = self._watch.hear(figures)
        self._journal.report(step, figures)

    def show(self, state: TrainingState) -> None:
        """A contact sheet of the same noise at every call, by the averaged weights.

        Raises TrainingCollapsed if the samples have lost their variety and that is to end it.
        """
        if state.model.noise_size == 0:
            return
        layout = state.model.layout
        with averaged_weights(state.model, state.average) as model:
            stored = preview(model, self._seed)
        name = f"step-{state.step:08d}.png"
        with writing(self._run.samples / name) as partial:
            modality(layout.modality).sheet(stored).save(partial, "PNG")
        self._journal.show(state.step, f"{self._run.samples.name}/{name}")
        if self._watch is not None:
            with averaged_weights(state.model, state.average) as model:
                self._watch.look(model, state.step)

    def save(self, state: TrainingState) -> None:
        """A checkpoint."""
        save_checkpoint(self._run.checkpoints, state)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _watch(request: TrainingRequest, dataset: Dataset) -> CollapseWatch | None:
    """What the first worker looks for a collapse with, if that is asked and it can be seen."""
    limits = request.training.collapse
    visible = dataset.manifest.layout.modality == "image"
    if limits is None or not visible or not FAMILIES[request.model.family].generative:
        return None
    stream = request.open_stream(World())
    epoch = itertools.islice(stream.batches(), stream.batches_per_epoch)
    return CollapseWatch(limits, (batch for batch, _ in epoch), request.training.seed)


def _runtime(world: World, recorder: Recorder | None) -> Runtime:
    if recorder is None:
        return Runtime(world, _ignore, _ignore, _ignore)
    return Runtime(world, recorder.report, recorder.show, recorder.save)


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
