"""What a night's generation costs beside the bare loop of its model: seeds, shards, gates, labels.

No dataset is made without labels, so that one process's pace without them is that of its stages:
samples with their provenance, the shard, its commit. Two workers' pace is with labels.

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
from harness import conclude, machine, median, table

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.verification import verify
from aigc.generation.plan import BATCH, GENERATED, ModelReference, Plan, Screening
from aigc.generation.sampling import shard_table
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.vae import VAEConfig
from cluster.candidates import MemoryRequest, ModelAt, remember
from cluster.code import code_digest
from cluster.commits import commit_shard
from cluster.generation import Generation, publish_checked
from cluster.local import LocalRay
from cluster.places import Here, Place
from cluster.resources import Resources
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


@contextmanager
def night(count: int, screened: bool = False) -> Iterator[Generation]:
    """A generation of digits in a workspace of its own; the weights of its model mean nothing."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        run, layout = workspace.run("night-1"), digits()
        config = VAEConfig()
        digest = save_model(run.model, build(config, layout, seed=0), config, {})
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
    work = functools.partial(unlabelled_shard, generation)
    list(place.map(work, range(generation.plan.shards), Resources(workers=workers)))


def unlabelled_shard(generation: Generation, number: int) -> None:
    """Samples with their provenance, their file, and its hash."""
    run, plan = generation.run, generation.plan
    model = ModelAt(run.model, plan.model.digest, use_gpu=False).load()
    made = shard_table(model, plan, plan.samples(number))
    commit_shard(made, run.attempts, run.candidates, f"{number}.parquet", GENERATED)


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
        "labelled shards": [],
    }
    for _ in range(repeats):
        with night(count) as plain, night(count, screened=True) as gated:
            spent["bare loop"].append(seconds(lambda: bare(plain, count)))
            spent["shards"].append(seconds(lambda: unlabelled(plain, Here(), 1)))
            spent["gates and labels"].append(seconds(lambda: made(gated, Here(), 1)))
            spent["labelled shards"].append(seconds(lambda: made(plain, Here(), 1)))
    return spent


def beside(one: list[float], other: list[float]) -> float:
    """How the pace of the one is beside the other's, the median of the rounds: paces drift."""
    return median([b / a for a, b in zip(one, other, strict=True)])


def two_cores(count: int) -> dict[str, float]:
    """Samples a second of two Ray workers that have begun."""
    with night(2 * SHARD) as warm, LocalRay(Path(tempfile.mkdtemp())) as place:
        made(warm, place, 2)
        with night(count) as generation:
            shards = seconds(lambda: unlabelled(generation, place, 2))
            labelled = seconds(lambda: made(generation, place, 2))
    return {"two workers, shards": count / shards, "two workers, labelled shards": count / labelled}


def verification(count: int) -> tuple[float, float]:
    """Bytes a second of `verify`, and of reading the same files, each from the disk."""
    with night(count) as generation:
        dataset = made(generation, Here(), 1)
        publish_checked(dataset)
        paths = [dataset.folder / shard.path for shard in dataset.manifest.shards]
        size = sum(path.stat().st_size for path in paths)
        rounds = [(_cold(paths, lambda: verify(dataset)), _cold(paths, lambda: _read(paths)))]
        rounds += [(_cold(paths, lambda: verify(dataset)), _cold(paths, lambda: _read(paths)))]
        ours, disk = (size / median(each) for each in zip(*rounds, strict=True))
        return ours, disk


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where = machine()
    spent = one_core(chosen.samples, chosen.repeats)
    paces = {name: chosen.samples / median(each) for name, each in spent.items()}
    paces |= two_cores(chosen.samples)
    ours, disk = verification(chosen.samples)
    base = paces["bare loop"]
    table(
        ("samples a second", "pace", "of the bare loop"),
        [(name, pace, pace / base) for name, pace in paces.items()],
    )
    table(("bytes a second", "verify", "read"), [("dataset", ours, disk)])
    goals = {
        "one worker without labels / bare loop": (
            beside(spent["shards"], spent["bare loop"]),
            0.95,
        ),
        "two workers without labels / twice the bare loop": (
            paces["two workers, shards"] / (2 * base),
            0.9,
        ),
        "two workers / twice one, labelled": (
            paces["two workers, labelled shards"] / (2 * paces["labelled shards"]),
            0.9,
        ),
        "with gates and labels / without": (
            beside(spent["gates and labels"], spent["shards"]),
            1 / 1.3,
        ),
        "verify / disk": (ours / disk, 0.8),
    }
    figures = {name: round(pace, 1) for name, pace in paces.items()}
    return conclude("generation", where, figures | {"verify MB/s": round(ours / 1e6, 1)}, goals)


if __name__ == "__main__":
    sys.exit(main())
