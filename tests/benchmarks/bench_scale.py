"""What more workers bring, and what being unkillable costs.

Protocol: RESULTS.md beside this file. Every ratio is of two sides that did the same work in turn.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from bench_loop import FOREVER, product_loop, recipe
from harness import conclude, machine, median, table

from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.layout import Layout
from aigc.models import build
from aigc.models.attention import Attention, AttentionConfig, pick
from aigc.training.checkpoint import CheckpointWriter
from aigc.training.loop import Runtime, train
from aigc.training.world import World
from cluster.journal import JournalReader
from cluster.local import LocalRay
from cluster.places import Worker, device
from cluster.resources import Resources
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import Workspace
from jobs.specs import SPECS

DATASET = "mnist-5k"
RECIPE = SPECS / "training" / "digits-gan.yaml"
EACH, STEPS, GPU_STEPS = 64, 240, 2000
"""Records of a worker's step, and how many steps, also on a GPU. Two networks with a phase each:
the harder case of averaging gradients."""
PARTS = ("cache", "workers", "recovery", "checkpointing")
Goals = dict[str, tuple[float | None, float]]
Figures = dict[str, object]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="trainings of each kind, in turn")
    parser.add_argument("--rounds", type=int, default=10, help="pairs of rounds of checkpointing")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="of the parts")
    parser.add_argument("--gpu", action="store_true", help="one worker that has it, on Ray and not")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where, figures, goals = machine(), Figures(), Goals()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        import_dataset(workspace.datasets, DATASET)
        if chosen.gpu:
            on_gpu(workspace, chosen.pairs, figures, goals)
        if "cache" in chosen.only:
            cache(figures, goals)
        if "workers" in chosen.only:
            workers(workspace, chosen.pairs, figures, goals)
        if "recovery" in chosen.only:
            recovery(workspace, figures, goals)
        if "checkpointing" in chosen.only:
            checkpointing(workspace, chosen.rounds, figures, goals)
    return conclude("scale", where, figures, goals)


def workers(workspace: Workspace, pairs: int, figures: Figures, goals: Goals) -> None:
    """One and two workers on Ray and under torchrun, each worker with as many records; and one with
    as many as two have together."""
    single, double = Resources(), Resources(workers=2)
    speeds = _in_turn(
        workspace,
        pairs,
        {
            "one on Ray": (_on_ray, single, EACH),
            "two on Ray": (_on_ray, double, 2 * EACH),
            "two under torchrun": (_torchrun, double, 2 * EACH),
            "one under torchrun": (_torchrun, single, EACH),
            "one on Ray, whole batch": (_on_ray, single, 2 * EACH),
        },
    )
    one, two, plain, alone, whole = speeds.values()
    goals["two workers / twice one, of as many records each"] = (_ratio(two, one) / 2, 0.85)
    goals["Ray / torchrun, two workers"] = (_ratio(two, plain), 0.97)
    goals["Ray / torchrun, one worker"] = (_ratio(one, alone), 0.97)
    figures |= {"samples_per_second": {kind: median(each) for kind, each in speeds.items()}}
    figures |= {"two_workers_by_twice_one_of_the_whole_batch": _ratio(two, whole) / 2}


def on_gpu(workspace: Workspace, pairs: int, figures: Figures, goals: Goals) -> None:
    """One worker with a GPU, on Ray and under torchrun."""
    gpu = Resources(gpus_per_worker=1)
    kinds = {"on Ray": (_on_ray, gpu, EACH), "under torchrun": (_torchrun, gpu, EACH)}
    speeds = _in_turn(workspace, pairs, kinds, GPU_STEPS)
    goals["Ray / torchrun, one worker with a GPU"] = (_ratio(*speeds.values()), 0.97)
    figures |= {"gpu": torch.cuda.get_device_name(), "gpu_samples_per_second": speeds}


def _in_turn(
    workspace: Workspace,
    pairs: int,
    kinds: Mapping[str, tuple[Callable[[Workspace, Resources, TrainingRequest], None], ...]],
    steps: int = STEPS,
) -> dict[str, list[float]]:
    """Samples/s of trainings of each kind (how, resources, records a step), `pairs` of each."""
    numbers, speeds = itertools.count(), dict[str, list[float]]()
    for _ in range(pairs):
        for kind, (run, resources, batch) in kinds.items():
            request = _request(
                workspace, f"{resources.workers}-{next(numbers)}", steps, batch=batch
            )
            run(workspace, resources, request)
            speeds.setdefault(kind, []).append(_speed(request))
    table(
        ("hinge GAN, samples/s", "median", "each"),
        [
            (kind, median(values), " ".join(f"{value:.0f}" for value in values))
            for kind, values in speeds.items()
        ],
    )
    return speeds


def _ratio(these: list[float], those: list[float]) -> float:
    """Of the speeds of one round, the median of all rounds."""
    return median([this / that for this, that in zip(these, those, strict=True)])


def recovery(workspace: Workspace, figures: Figures, goals: Goals) -> None:
    """From a worker's SIGKILL to the first step that had not been done before."""
    request = _request(workspace, "killed", STEPS, checkpoint_every=40)
    mark = workspace.root / "killed"
    started = time.perf_counter()
    with LocalRay(workspace.root / "ray") as place:
        place.train(_mortal(request, mark), Resources(workers=2))
    killed_at = mark.stat().st_mtime
    reports = [entry for entry in JournalReader(request.run.journal).new() if "figures" in entry]
    first = next(entry for entry in reports if entry["time"] / 1000 > killed_at)
    seconds = first["time"] / 1000 - killed_at
    figures |= {"recovery_seconds": seconds, "whole_run_seconds": time.perf_counter() - started}
    goals["30 s / recovery of a killed worker"] = (30 / seconds, 1.0)
    table(("a killed worker", "seconds"), [("to the first new step", seconds)])


def checkpointing(workspace: Workspace, rounds: int, figures: Figures, goals: Goals) -> None:
    """The loop with and without its checkpoints at the default interval, in turn."""
    spec = recipe(RECIPE)
    dataset, _ = import_dataset(workspace.datasets, DATASET)
    every = spec.training.checkpoint_every
    _, state = product_loop(spec, dataset, workspace)
    stream = Stream(dataset, "train", spec.training.batch_size, 0)
    writer = CheckpointWriter(workspace.root / "checkpoints")
    ratios = list[float]()
    for _ in range(rounds):
        seconds = dict[bool, float]()
        for saving in (False, True):
            save: Any = writer.save if saving else _ignore
            runtime = Runtime(World(), _ignore, _ignore, save)
            config = spec.training.model_copy(update={"steps": state.step + every})
            started = time.perf_counter()
            train(state, stream, config, runtime)
            writer.wait()
            seconds[saving] = time.perf_counter() - started
        ratios.append(seconds[False] / seconds[True])
    writer.close()
    ratio = median(ratios)
    figures |= {"checkpointing_ratio": ratio}
    goals["without / with checkpoints"] = (ratio, 0.98)
    table((f"checkpoints every {every} steps", "ratio"), [("without / with", ratio)])


@torch.no_grad()
def cache(figures: Figures, goals: Goals) -> None:
    """Texts of 256 bytes, 64 at a time, with the cache and with every prefix computed anew."""
    layout = Layout(modality="text", shape=(256,))
    model = build(AttentionConfig(), layout, 0).eval()
    assert isinstance(model, Attention)
    # A byte of no text: nothing ends before its last token.
    uniform = torch.rand(64, 256).clamp(0.5, 0.99)
    noise = torch.special.ndtri(uniform.double()).float()
    started = time.process_time()
    with_cache = model.sample(noise, None)
    seconds = time.process_time() - started
    started = time.process_time()
    tokens = torch.zeros(64, 256, dtype=torch.int64)
    for position in range(256):
        hidden = model.hidden(tokens[:, : position + 1], None)[:, -1]
        column = torch.special.ndtr(noise.double())[:, position]
        tokens[:, position] = pick(model.logits(hidden), column, model.config.sampling)
    anew = time.process_time() - started
    assert torch.equal(model.tokens.decode(tokens), with_cache)
    figures |= {"cached_seconds": seconds, "recomputed_seconds": anew}
    goals["sampling: recomputed / cached seconds"] = (anew / seconds, 5.0)
    table(("64 texts of 256 bytes", "CPU-s"), [("cached", seconds), ("recomputed", anew)])


def _ignore(*_: object) -> None: ...


def _request(
    workspace: Workspace,
    name: str,
    steps: int,
    checkpoint_every: int = FOREVER,
    batch: int = 2 * EACH,
) -> TrainingRequest:
    spec = recipe(RECIPE)
    settings = {"steps": steps, "batch_size": batch, "report_every": 10}
    intervals = {"checkpoint_every": checkpoint_every, "sample_every": FOREVER}
    config = spec.training.model_copy(update={**settings, **intervals})
    run = workspace.run(f"scale-{name}")
    return TrainingRequest(workspace.datasets, DATASET, spec.model, config, run)


def _on_ray(workspace: Workspace, resources: Resources, request: TrainingRequest) -> None:
    with LocalRay(workspace.root / "ray") as place:
        place.train(functools.partial(train_worker, request), resources)


def _torchrun(workspace: Workspace, resources: Resources, request: TrainingRequest) -> None:
    """The same worker on the same request, started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command.append(f"--nproc_per_node={resources.workers}")
    child = Path(__file__).parent / "torchrun_worker.py"
    training = request.training.model_dump_json()
    arguments = [str(workspace.root), request.run.submission, training, str(device(resources))]
    done = subprocess.run(
        [*command, str(child), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def _speed(request: TrainingRequest) -> float:
    """Samples/s from the second report to the last: start-up is left out."""
    reports = [entry for entry in JournalReader(request.run.journal).new() if "figures" in entry]
    first, last = reports[1], reports[-1]
    steps, milliseconds = last["step"] - first["step"], last["time"] - first["time"]
    return float(steps * request.training.batch_size * 1000 / milliseconds)


def _mortal(request: TrainingRequest, mark: Path) -> Worker:
    """The worker, of which the second is killed once in the middle. Nested, so that Ray sends it
    by value."""

    def run(world: World) -> None:
        from aigc.training.loop import _Steps

        taken, steps = _Steps.take, [0]

        def take(self: Any, batch: Any, meter: Any) -> None:
            steps[0] += 1
            if world.rank == 1 and steps[0] == STEPS // 2 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            taken(self, batch, meter)

        _Steps.take = take
        train_worker(request, world)

    return run


if __name__ == "__main__":
    sys.exit(main())
