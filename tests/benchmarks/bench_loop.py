"""What the product adds to training: its loop against a bare one, and Ray against this process.

Protocol, and what the bare loop leaves out: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from harness import conclude, machine, median, table
from torch import Tensor
from torch.nn import functional

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.modalities import modality
from aigc.models import build
from aigc.models.contract import Model, OptimizerConfig
from aigc.models.gan import GAN
from aigc.models.vae import VAE
from aigc.training.checkpoint import save_checkpoint
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.journal import Journal, JournalReader
from cluster.local import LocalRay
from cluster.places import Here, Place
from cluster.resources import Resources
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import Workspace
from jobs.spec import Train, load
from jobs.specs import SPECS

DATASET = "mnist-5k"
RECIPES = {
    "vae": SPECS / "training" / "digits-vae.yaml",
    "hinge GAN": SPECS / "training" / "digits-gan.yaml",
    "article GAN": SPECS / "training" / "article-gan.yaml",
}
RAY_STEPS = {"digits-vae": 700, "digits-gan": 300, "article-gan": 3000}
"""Of a training through train_worker: ten to twenty seconds each."""
FOREVER = 10**9
Steps = Callable[[int], None]
"""Goes on training for so many steps."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="pairs of rounds of the bare loop")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a round lasts")
    parser.add_argument("--ray-pairs", type=int, default=3, help="0 leaves Ray out")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where, figures, goals = machine(), dict[str, object](), dict[str, tuple[float | None, float]]()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        dataset, _ = import_dataset(workspace.datasets, DATASET)
        against_bare(dataset, workspace, chosen.rounds, chosen.seconds, figures, goals)
        if chosen.ray_pairs:
            through_ray(workspace, chosen.ray_pairs, figures, goals)
    return conclude("loop", where, figures, goals)


def against_bare(
    dataset: Dataset,
    workspace: Workspace,
    rounds: int,
    seconds: float,
    figures: dict[str, object],
    goals: dict[str, tuple[float | None, float]],
) -> None:
    """The product's loop and the bare one in turn, for each recipe."""
    rows = []
    for name, path in RECIPES.items():
        spec = recipe(path)
        product, state = product_loop(spec, dataset, workspace)
        bare = bare_loop(spec, dataset)
        pairs = list(interleaved(bare, product, spec.training, dataset, rounds, seconds))
        ratios = [first.wall / second.wall for first, second in pairs]
        cpu_ratio = median([first.cpu / second.cpu for first, second in pairs])
        bare_speed, product_speed = (
            median([spec.training.batch_size / each.wall for each in column])
            for column in zip(*pairs, strict=True)
        )
        ratio, checkpoint = median(ratios), checkpoint_seconds(state, workspace)
        figures[name] = {
            "bare_samples_per_second": bare_speed,
            "product_samples_per_second": product_speed,
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
            "ratio_quartiles": statistics.quantiles(ratios),
            "checkpoint_seconds": checkpoint,
        }
        goals[f"{name}: product / bare"] = (ratio, 0.95)
        low, _, high = statistics.quantiles(ratios)
        spread = f"{low:.3f} … {high:.3f}"
        rows.append((name, bare_speed, product_speed, ratio, spread, cpu_ratio, checkpoint * 1000))
    columns = ("bare", "product", "ratio", "half of the pairs", "CPU ratio", "checkpoint ms")
    table(("one worker, samples/s", *columns), rows)


def recipe(path: Path) -> Train:
    """A shipped training spec."""
    spec = load(path)
    assert isinstance(spec, Train)
    return spec


class Seconds(NamedTuple):
    """What one step took: by the clock on the wall, and of the processor."""

    wall: float
    cpu: float


def interleaved(
    bare: Steps,
    product: Steps,
    config: TrainingConfig,
    dataset: Dataset,
    rounds: int,
    seconds: float,
) -> Iterator[tuple[Seconds, Seconds]]:
    """The bare loop and the product in turn, round by round, in whole epochs."""
    epoch = Stream(dataset, "train", config.batch_size, 0).batches_per_epoch
    product(epoch)
    bare(epoch)
    steps = epoch * max(1, round(seconds / (epoch * timed(bare, epoch).wall)))
    for _ in range(rounds):
        yield timed(bare, steps), timed(product, steps)


def timed(work: Steps, steps: int) -> Seconds:
    """What each of `steps` steps takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(steps)
    return Seconds((time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps)


def product_loop(
    spec: Train, dataset: Dataset, workspace: Workspace
) -> tuple[Steps, TrainingState]:
    """The product's loop, stream and journal at the default intervals; checkpoints are timed
    apart, and pictures left out."""
    config = spec.training
    state = TrainingState(build(spec.model, dataset.manifest.layout, config.seed))
    stream = Stream(dataset, "train", config.batch_size, config.seed)
    journal = Journal(workspace.run(f"loop-{spec.name}").journal)
    runtime = Runtime(World(), journal.report, lambda _: None, lambda *_: None)

    def run(steps: int) -> None:
        train(state, stream, config.model_copy(update={"steps": state.step + steps}), runtime)

    return run, state


def checkpoint_seconds(state: TrainingState, workspace: Workspace) -> float:
    """Seconds that one checkpoint of the state takes."""
    folder = workspace.root / "checkpoints"
    times = []
    for _ in range(5):
        started = time.perf_counter()
        save_checkpoint(folder, state)
        times.append(time.perf_counter() - started)
    return median(times)


def bare_loop(spec: Train, dataset: Dataset) -> Steps:
    """What one would write by hand for this model: no phases, no stream, no journal."""
    config = spec.training
    torch.manual_seed(config.seed)
    model = build(spec.model, dataset.manifest.layout, config.seed)
    step = bare_gan(model) if isinstance(model, GAN) else bare_vae(model)
    batches = bare_batches(dataset, config.batch_size)

    def run(steps: int) -> None:
        for number in range(steps):
            loss = step(*next(batches))
            if number % config.report_every == 0:
                loss.item()

    return run


def bare_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Float images in memory, in a new order each epoch."""
    stored = dataset.records("train")
    assert stored.labels is not None
    images = modality(dataset.manifest.layout.modality).decode(stored.stored)
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            yield images[rows], stored.labels[rows]


def bare_vae(model: Model) -> Callable[[Tensor, Tensor], Tensor]:
    """A conditional Bernoulli VAE's step."""
    assert isinstance(model, VAE)
    model.train()
    optimizer = adam(model, model.config.optimizer)
    average = moving_average(model, model.config.average_decay)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        one_hot = functional.one_hot(labels, 10).float()
        encoded = torch.cat([model.encoder(images), one_hot], 1)
        mean, log_variance = model.posterior(encoded).chunk(2, 1)
        latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        logits = model.decoder(torch.cat([latents, one_hot], 1))
        targets = (images + 1) / 2
        reconstruction = functional.binary_cross_entropy_with_logits(
            logits, targets, reduction="sum"
        )
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        weight = model.config.reconstruction_weight
        loss: Tensor = (kl + weight * reconstruction) / len(images)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        average()
        return loss

    return step


def bare_gan(model: GAN) -> Callable[[Tensor, Tensor], Tensor]:
    """A GAN's step: D on real and fake images in one pass, then G against the D that has moved."""
    model.train()
    generator, discriminator, recipe = model.generator, model.discriminator, model.recipe
    generator_weights = list(generator.parameters())
    discriminator_weights = list(discriminator.parameters())
    generator_adam = adam(generator, model.config.generator)
    discriminator_adam = adam(discriminator, model.config.discriminator)
    average = moving_average(generator, model.average_decay)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            fakes = generator(torch.randn(len(images), model.noise_size), labels)
        logits = discriminator(torch.cat([images, fakes]), torch.cat([labels, labels]))
        loss = recipe.discriminator_loss(*logits.chunk(2))
        discriminator_adam.zero_grad()
        loss.backward(inputs=discriminator_weights)  # type: ignore[no-untyped-call]
        discriminator_adam.step()

        fakes = generator(torch.randn(len(images), model.noise_size), labels)
        loss = recipe.generator_loss(discriminator(fakes, labels))
        generator_adam.zero_grad()
        loss.backward(inputs=generator_weights)  # type: ignore[no-untyped-call]
        generator_adam.step()
        average()
        return loss

    return step


def adam(network: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The product's optimizer."""
    betas, decay = (config.beta1, config.beta2), config.weight_decay
    return torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas, weight_decay=decay, fused=True
    )


def moving_average(network: torch.nn.Module, decay: float | None) -> Callable[[], None]:
    """One update of the moving average of the network's weights; nothing without a decay."""
    if decay is None:
        return lambda: None
    averages = [parameter.detach().clone() for parameter in network.parameters()]
    weights = [parameter.detach() for parameter in network.parameters()]
    return lambda: torch._foreach_lerp_(averages, weights, 1 - decay)


def through_ray(
    workspace: Workspace,
    pairs: int,
    figures: dict[str, object],
    goals: dict[str, tuple[float | None, float]],
) -> None:
    """Whole trainings in this process and on Ray in turn: samples/s between two reports."""
    rows = []
    for name, path in RECIPES.items():
        spec, numbers = recipe(path), itertools.count()
        measure = functools.partial(between_reports, spec, workspace, numbers)
        both = [
            (
                measure(Here(), 1),
                measure(LocalRay(workspace.root / "ray"), 1),
                measure(LocalRay(workspace.root / "ray"), 2),
            )
            for _ in range(pairs)
        ]
        here, one, two = (median(list(column)) for column in zip(*both, strict=True))
        ratio = median([ray / alone for alone, ray, _ in both])
        doubled = median([second / first for _, first, second in both])
        figures[f"{name} on Ray"] = {
            "here_samples_per_second": here,
            "one_worker_samples_per_second": one,
            "two_workers_samples_per_second": two,
            "one_worker_over_here": ratio,
            "two_workers_over_one": doubled,
        }
        goals[f"{name}: one Ray worker / here"] = (ratio, 0.90)
        rows.append((name, here, one, ratio, two, doubled))
    header = ("through train_worker, samples/s", "here", "1 on Ray", "ratio", "2 on Ray", "2 / 1")
    table(header, rows)


def between_reports(
    spec: Train, workspace: Workspace, numbers: Iterator[int], place: Place, workers: int
) -> float:
    """Samples/s of one training, from its second report to its last: start-up is left out."""
    run = workspace.run(f"{spec.name}-{place.name}-{workers}-{next(numbers)}")
    intervals = {"checkpoint_every": FOREVER, "sample_every": FOREVER}
    config = spec.training.model_copy(update={**intervals, "steps": RAY_STEPS[spec.name]})
    request = TrainingRequest(workspace.datasets, DATASET, spec.model, config, run)
    with place:
        place.train(functools.partial(train_worker, request), Resources(workers=workers))
    reports = [entry for entry in JournalReader(run.journal).new() if "figures" in entry]
    first, last = reports[1], reports[-1]
    steps, milliseconds = last["step"] - first["step"], last["time"] - first["time"]
    return float(steps * config.batch_size * 1000 / milliseconds)


if __name__ == "__main__":
    sys.exit(main())
