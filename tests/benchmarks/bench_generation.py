"""What a night's generation costs beside the bare loop of its model: seeds, shards, gates, labels.

No dataset is made without labels, so that the pace without them is that of the stages: samples with
their provenance, the shard, its commit. What is compared was measured in the same round.

Protocol: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from harness import Goals, conclude, machine, median, table

from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.data.verification import verify
from aigc.generation.plan import BATCH, GENERATED, ModelReference, Plan, Screening
from aigc.generation.sampling import shard_table
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.contract import Model
from aigc.models.vae import VAEConfig
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.candidates import MemoryRequest, ModelAt, remember
from cluster.code import code_digest
from cluster.commits import commit_shard
from cluster.generation import Generation, publish_checked
from cluster.local import LocalRay
from cluster.places import Here, Place
from cluster.process import settle
from cluster.resources import Resources
from cluster.tasks import behind, each
from cluster.workspace import RunFolder, Workspace

SHARD = 5000


def bare(generation: Generation, count: int) -> None:
    """The loop that one would write for the model alone: whole batches, and stored records."""
    model = build(VAEConfig(), generation.plan.layout, seed=0).eval()
    labels = torch.arange(BATCH) % 10
    with torch.inference_mode():
        for _ in range(0, count, BATCH):
            made = model.sample(torch.randn(BATCH, model.noise_size), labels)
            modality("image").encode(made)


def bare_loops(generation: Generation, place: Place, count: int) -> None:
    """The same by two workers, half of it each: what the machine gives to both at once."""
    half = each(functools.partial(bare, generation))
    list(place.map(half, [count // 2] * 2, Resources(workers=2)))


@functools.cache
def trained() -> Model:
    """The same model after 600 steps, whose samples look like digits, and are near to some."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = import_dataset(Path(folder), "mnist-5k")[0]
        model = build(VAEConfig(), dataset.manifest.layout, seed=0)
        config = TrainingConfig(steps=600, batch_size=128, seed=0)
        runtime = Runtime(World(), lambda *_: None, lambda _: None, lambda *_: None)
        train(TrainingState(model), Stream(dataset, "train", 128, 0), config, runtime)
        stored, labels = dataset.records("train")
        model.finish([Batch(modality("image").decode(stored), labels)], seed=0)
        return model


@contextmanager
def night(count: int, screened: bool = False, model: Model | None = None) -> Iterator[Generation]:
    """A generation of digits in a workspace of its own; the weights of its model mean nothing if
    none is given."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        run, layout = workspace.run("night-1"), digits()
        config = VAEConfig()
        digest = save_model(run.model, model or build(config, layout, seed=0), config, {})
        plan = Plan(
            dataset="night",
            model=ModelReference(name="digits", version=1, digest=digest),
            layout=layout,
            count=count,
            seed=0,
            shard_size=SHARD,
            code=code_digest(),
            screening=screening(workspace, run, count) if screened else None,
        )
        yield Generation(plan, workspace, run)


def digits() -> Layout:
    """That of MNIST."""
    return Layout(modality="image", shape=(1, 28, 28), labels=tuple("0123456789"))


def screening(workspace: Workspace, run: RunFolder, count: int) -> Screening:
    """Samples are compared with the 5,000 digits that come with a package."""
    import_dataset(workspace.datasets, "mnist-5k")
    memory = remember(MemoryRequest(workspace.datasets, ["mnist-5k"], run.memory))
    return Screening(memory=memory, budget=count)


def made(generation: Generation, place: Place, workers: int) -> Dataset:
    """Its dataset: all of it, not published."""
    where = place, Resources(workers=workers), lambda done: None
    chosen = generation.choose(*where).chosen if generation.plan.screening else ()
    return generation.fill(*where, chosen)


def unlabelled(generation: Generation, place: Place, workers: int) -> None:
    """What workers do for shards, without the labels."""
    task = behind(functools.partial(unlabelled_shard, generation))
    list(place.map(task, range(generation.plan.shards), Resources(workers=workers)))


def unlabelled_shard(generation: Generation, number: int) -> Callable[[], object]:
    """Samples with their provenance; what is returned writes their file, and its hash."""
    run, plan = generation.run, generation.plan
    model = ModelAt(run.model, plan.model.digest, use_gpu=False).load()
    made = shard_table(model, plan, plan.samples(number))
    path = f"{number}.parquet"
    return functools.partial(commit_shard, made, run.attempts, run.candidates, path, GENERATED)


@contextmanager
def on_one_core() -> Iterator[None]:
    """What this thread does in the block, and those that it starts, has one core for all."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_core(count: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each round in one process: bare, as a dataset, and with gates."""
    spent: dict[str, list[float]] = {
        "bare loop": [],
        "shards": [],
        "gates and labels": [],
        "shards of digits": [],
        "gates and labels of digits": [],
    }
    for _ in range(repeats):
        with night(count) as plain, night(count, screened=True) as gated:
            spent["bare loop"].append(seconds(lambda: bare(plain, count)))
            spent["shards"].append(seconds(lambda: unlabelled(plain, Here(), 1)))
            spent["gates and labels"].append(seconds(lambda: made(gated, Here(), 1)))
        with night(count, False, trained()) as plain, night(count, True, trained()) as gated:
            spent["shards of digits"].append(seconds(lambda: unlabelled(plain, Here(), 1)))
            spent["gates and labels of digits"].append(seconds(lambda: made(gated, Here(), 1)))
    return spent


def beside(one: list[float], other: list[float]) -> float:
    """How the pace of the one is beside the other's, by the seconds of both in each round, the
    median of the rounds: paces drift."""
    return median([b / a for a, b in zip(one, other, strict=True)])


def two_cores(count: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each round of two Ray workers that have begun, and of one process beside them."""
    spent: dict[str, list[float]] = {
        "bare loop again": [],
        "two workers, bare loop": [],
        "two workers, shards": [],
        "labelled shards": [],
        "two workers, labelled shards": [],
        "shards on one core": [],
        "labelled shards on one core": [],
    }
    with night(2 * SHARD) as warm, LocalRay(Path(tempfile.mkdtemp())) as ray:
        made(warm, ray, 2)
        for _ in range(repeats):
            with night(count) as one, night(count) as two:
                spent["bare loop again"].append(seconds(lambda: bare(one, count)))
                spent["two workers, bare loop"].append(seconds(lambda: bare_loops(one, ray, count)))
                spent["two workers, shards"].append(seconds(lambda: unlabelled(two, ray, 2)))
                spent["labelled shards"].append(seconds(lambda: made(one, Here(), 1)))
                spent["two workers, labelled shards"].append(seconds(lambda: made(two, ray, 2)))
            with night(count) as one, on_one_core():
                spent["shards on one core"].append(seconds(lambda: unlabelled(one, Here(), 1)))
                spent["labelled shards on one core"].append(seconds(lambda: made(one, Here(), 1)))
    return spent


def verification(count: int, repeats: int) -> tuple[int, dict[str, list[float]]]:
    """Bytes of a dataset, and seconds of `verify` and of reading its files, each from the disk."""
    spent: dict[str, list[float]] = {"verify": [], "read": []}
    with night(count) as generation:
        dataset = made(generation, Here(), 1)
        publish_checked(dataset)
        paths = [dataset.folder / shard.path for shard in dataset.manifest.shards]
        for _ in range(repeats):
            spent["verify"].append(_cold(paths, lambda: verify(dataset)))
            spent["read"].append(_cold(paths, lambda: _read(paths)))
        return sum(path.stat().st_size for path in paths), spent


def _cold(paths: list[Path], work: Callable[[], object]) -> float:
    """Seconds of the work, with nothing of the files in memory."""
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return seconds(work)


def _read(paths: list[Path]) -> None:
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(2**20):
                pass


def goals(spent: dict[str, list[float]]) -> Goals:
    """What is asked of the rounds' seconds."""
    # Two workers have no core to spare for their threads, as one has on two cores.
    labelled = "two workers, labelled shards", "labelled shards on one core"

    def pace(one: str, other: str) -> float:
        return beside(spent[one], spent[other])

    return {
        "one worker without labels / bare loop": (pace("shards", "bare loop"), 0.95),
        "two workers without labels / two bare loops": (
            pace("two workers, shards", "two workers, bare loop"),
            0.9,
        ),
        "two workers / twice one on one core, labelled": (pace(*labelled) / 2, 0.9),
        "with gates and labels / without": (pace("gates and labels", "shards"), 1 / 1.3),
        "verify / disk": (pace("verify", "read"), 0.8),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    count, repeats = chosen.samples, chosen.repeats
    # The first bare loop, too, keeps the memory of its batches, as a worker does.
    settle(Resources())
    where = machine()
    spent = one_core(count, repeats) | two_cores(count, repeats)
    paces = {name: count / median(each) for name, each in spent.items()}
    size, reading = verification(count, repeats)
    rates = {name: size / median(each) for name, each in reading.items()}
    table(
        ("samples a second", "pace", "of the bare loop"),
        [(name, pace, pace / paces["bare loop"]) for name, pace in paces.items()],
    )
    table(("bytes a second", *rates), [("dataset", *rates.values())])
    figures = {name: round(pace, 1) for name, pace in paces.items()}
    digits = beside(spent["gates and labels of digits"], spent["shards of digits"])
    figures["of digits, with gates and labels / without"] = round(digits, 3)
    twice = beside(spent["two workers, shards"], spent["bare loop again"]) / 2
    figures["two workers without labels / twice the bare loop"] = round(twice, 3)
    twice = beside(spent["two workers, labelled shards"], spent["labelled shards"]) / 2
    figures["two workers / twice one with a core to spare, labelled"] = round(twice, 3)
    alone = beside(spent["shards on one core"], spent["bare loop again"])
    figures["one worker on one core without labels / bare loop"] = round(alone, 3)
    figures |= {f"{name} MB/s": round(rate / 1e6, 1) for name, rate in rates.items()}
    return conclude("generation", where, figures, goals(spent | reading))


if __name__ == "__main__":
    sys.exit(main())
