"""What jobs do on a GPU: workers on Ray, generation and evaluation."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist

from aigc.data.catalog import Dataset
from aigc.data.importers import Options, import_dataset
from aigc.generation import sampling
from aigc.generation.plan import BATCH, ModelReference, Plan
from aigc.generation.sampling import make_samples
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.contract import OptimizerConfig
from aigc.models.gan import GANConfig
from aigc.models.vae import VAEConfig
from aigc.training.config import TrainingConfig
from aigc.training.loop import Meter
from aigc.training.world import World
from cluster.code import code_digest
from cluster.evaluation import EvaluationRequest, evaluate_worker
from cluster.generation import Generation
from cluster.journal import JournalReader
from cluster.local import LocalRay
from cluster.places import Here
from cluster.resources import Resources
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import Workspace

pytestmark = pytest.mark.gpu

WHOLE = Resources(gpus_per_worker=1)
HALVES = Resources(workers=2, gpus_per_worker=0.5)
CALM = OptimizerConfig(learning_rate=1e-5)
GAN = GANConfig(width=8, latent_size=8, generator=CALM, discriminator=CALM)


def request(digits: Dataset, datasets: Path, workspace: Workspace, name: str) -> TrainingRequest:
    config = TrainingConfig(steps=12, batch_size=32, report_every=4, checkpoint_every=4)
    return TrainingRequest(datasets, digits.reference, GAN, config, workspace.run(name))


def losses(asked: TrainingRequest) -> dict[str, float]:
    """Those of the last report."""
    reports = [entry for entry in JournalReader(asked.run.journal).new() if "figures" in entry]
    assert reports[-1]["step"] == 12
    found = reports[-1]["figures"]
    return {name: figure for name, figure in found.items() if name.endswith("/loss")}


def noting(folder: Path) -> Callable[[World], None]:
    """A worker that writes down where it is, and the sum of its workers' ranks."""

    def worker(world: World) -> None:
        rank = torch.tensor(float(world.rank + 1), device=world.device)
        dist.all_reduce(rank)
        said = f"{world.device.type} {dist.get_backend()} {rank.item():g}"
        (folder / str(world.rank)).write_text(said)

    return worker


@pytest.mark.ray
@pytest.mark.parametrize(
    ("resources", "said"), [(WHOLE, ["cuda nccl 1"]), (HALVES, ["cuda gloo 3"] * 2)]
)
def test_workers_of_a_gpu_speak_by_what_serves_them(
    resources: Resources, said: list[str], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    with LocalRay(tmp_path / "ray") as place:
        place.train(noting(notes), resources)

    assert [path.read_text() for path in sorted(notes.iterdir())] == said


@pytest.mark.ray
def test_two_workers_of_a_gpu_compute_what_one_does(
    digits: Dataset, datasets: Path, workspace: Workspace, tmp_path: Path
) -> None:
    one, two = (request(digits, datasets, workspace, name) for name in ("one", "two"))
    with LocalRay(tmp_path / "ray") as place:
        place.train(lambda world: train_worker(one, world), WHOLE)
        place.train(lambda world: train_worker(two, world), HALVES)

    assert losses(two) == pytest.approx(losses(one), rel=1e-2)


def mortal(asked: TrainingRequest, mark: Path) -> Callable[[World], None]:
    """A worker that is killed once, after the report of step 8, before which the checkpoint of step
    4 is written. Nested, so that Ray sends it by value."""

    def worker(world: World) -> None:
        told = Meter.add

        def add(self: Meter, *given: object) -> None:
            if self._step == 8 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            told(self, *given)  # type: ignore[arg-type]

        Meter.add = add  # type: ignore[method-assign,assignment]
        train_worker(asked, world)

    return worker


@pytest.mark.ray
def test_a_killed_worker_of_a_gpu_goes_on(
    digits: Dataset, datasets: Path, workspace: Workspace, tmp_path: Path
) -> None:
    whole, killed = (request(digits, datasets, workspace, name) for name in ("whole", "killed"))
    train_worker(whole, World(device=torch.device("cuda")))
    mark = tmp_path / "mark"
    with LocalRay(tmp_path / "ray") as place:
        place.train(mortal(killed, mark), WHOLE)

    assert mark.exists()
    assert "going on" in (killed.run.logs / "worker-0.log").read_text()
    assert losses(killed) == pytest.approx(losses(whole), rel=1e-2)


def test_a_night_on_a_gpu_has_the_planned_ids_and_the_same_bytes_again(
    digits: Dataset, workspace: Workspace
) -> None:
    nights = list[pa.Table]()
    for name in ("night-1", "night-2"):
        run, layout = workspace.run(name), digits.manifest.layout
        digest = save_model(run.model, build(GAN, layout, seed=1), GAN, {})
        plan = Plan(
            dataset=name,
            model=ModelReference(name="tiny", version=1, digest=digest),
            layout=layout,
            count=1200,
            seed=3,
            shard_size=500,
            code=code_digest(),
        )
        generation = Generation(plan, workspace, run)
        generation.fill(Here(), WHOLE, lambda done: None)
        shards = sorted((generation.folder / "shards").iterdir())
        made = pa.concat_tables([pq.read_table(shard) for shard in shards])
        nights.append(made.select(["sample", "seed", "label", "image"]))

    first, second = nights
    assert first.column("sample").to_pylist() == list(range(1200))
    assert first.equals(second)


def test_what_a_gpu_has_no_room_for_is_made_in_halves(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(GANConfig(width=64), digits.manifest.layout, seed=1).eval().to("cuda")
    monkeypatch.setattr(sampling, "samples_at_once", lambda *_: 16 * BATCH)
    samples = range(16 * BATCH)
    seeds = np.arange(16 * BATCH)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    wanted = make_samples(model, samples, seeds, seeds % 10)
    taken = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + taken // 2
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        with caplog.at_level(logging.WARNING):
            found = make_samples(model, samples, seeds, seeds % 10)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert "making half of them" in caplog.text
    assert (found.stored.int() - wanted.stored.int()).abs().max() <= 2


def test_figures_taken_on_a_gpu_are_nearly_those_of_processors(
    digits: Dataset, datasets: Path, tmp_path: Path
) -> None:
    layout = digits.manifest.layout
    vae, classifier = VAEConfig(width=8, latent_size=4), ClassifierConfig(width=8)
    for name, config in (("vae", vae), ("classifier", classifier)):
        save_model(tmp_path / name, build(config, layout, seed=0), config, {})
    metrics = ("frechet_300", "inception_score_200", "log_likelihood", "elbo")
    asked = EvaluationRequest(
        datasets, digits.reference, tmp_path / "vae", tmp_path / "classifier", metrics
    )
    on_gpu = evaluate_worker(dataclasses.replace(asked, use_gpu=True))

    assert torch.cuda.max_memory_allocated() > 0
    assert on_gpu.figures == pytest.approx(evaluate_worker(asked).figures, rel=1e-2)


@pytest.mark.parametrize("tokens", ["bytes", "characters", "bpe"])
def test_texts_are_learned_and_written_on_a_gpu(
    tokens: str, workspace: Workspace, tmp_path: Path
) -> None:
    lines = [f"Sire, {number} ships of Málaga have come to harbour.\n" for number in range(200)]
    (tmp_path / "tale.txt").write_text("".join(lines))
    options = Options(length=32)
    made, _ = import_dataset(workspace.datasets, "text", "tale", tmp_path / "tale.txt", options)
    model = AttentionConfig(width=16, depth=1, heads=2, tokens=tokens, vocabulary=270)  # type: ignore[arg-type]
    config = TrainingConfig(steps=12, batch_size=16, report_every=12, checkpoint_every=12)
    asked = [
        TrainingRequest(workspace.datasets, made.reference, model, config, workspace.run(name))
        for name in ("cpu", "cuda")
    ]
    for each in asked:
        train_worker(each, World(device=torch.device(each.run.submission)))
    on_cpu, on_gpu = asked

    assert losses(on_gpu) == pytest.approx(losses(on_cpu), rel=1e-2)
    assert (on_gpu.run.samples / "step-00000012.txt").stat().st_size > 1000
    metrics = ("nats_per_byte",)
    judged = EvaluationRequest(workspace.datasets, made.reference, on_gpu.run.model, None, metrics)
    here, there = (
        evaluate_worker(dataclasses.replace(judged, use_gpu=use_gpu)) for use_gpu in (False, True)
    )
    assert there.figures == pytest.approx(here.figures, rel=1e-2)
