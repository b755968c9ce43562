"""The stream beside LitData, MosaicML Streaming, WebDataset, Hugging Face datasets and Ray Data.

Protocol, and what the figures leave out: RESULTS.md beside this file. A library that cannot run is
printed as such. `--quick` is a check of the benchmark on little data: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from harness import conclude, machine, median, table
from streams.child import Failed, Outcome, run
from streams.ours import write_dataset
from streams.sources import BATCH, MNIST, Source, blobs, keep, mnist_x10, opened, squares

OURS, SCAN = "ours", "scan"
ROUTES = {
    OURS: ("arrow", "parquet"),
    SCAN: ("parquet", "parquet, checksums", "arrow"),
    "litdata": ("in process", "2 workers"),
    "mosaicml": ("map-style", "in process", "2 workers"),
    "webdataset": ("in process", "2 workers"),
    "huggingface": ("buffer", "index"),
    "ray_data": ("local buffer",),
}
"""By the module in streams/: the ways of reading that it offers."""

READING_AHEAD = ("ray_data",)
"""They have read most of an epoch before its first batch, so that only whole epochs tell."""
SHUFFLED = ("distance", "distance_if_drawn", "rank_correlation")
WINDOWS = (1024, 4096, 16_384, 65_536, 262_144)
PIXELS = 28
"""Along a side, where our stream is looked at alone."""

Route = tuple[str, str]
Figures = dict[str, object]
Goals = dict[str, tuple[float | None, float]]


class Scale(NamedTuple):
    """How large the sources are, in records, and how long is measured."""

    mnist: int = 600_000
    made: int = 40_000
    small: int = 20_000
    large: int = 10_000_000
    sorted: tuple[int, ...] = (1_000_000, 13_000_000)
    seconds: float = 3.0
    rounds: int = 3
    positions: int = 30
    is_check: bool = False


QUICK = Scale(12_800, 1_280, 20_000, 200_000, (200_000,), 0.2, 1, 5, is_check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="where the data is kept between runs")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, joined by commas")
    parser.add_argument("--quick", action="store_true", help="little data, one round")
    parser.add_argument("--rounds", type=int, help=f"{Scale().rounds} unless told")
    chosen = parser.parse_args()
    scale = QUICK if chosen.quick else Scale()
    scale = scale._replace(rounds=chosen.rounds or scale.rounds)
    cache = chosen.cache or Path(tempfile.gettempdir()) / "aigc-bench-stream"
    cache = cache.resolve() / ("quick" if chosen.quick else "full")
    sections = chosen.only.split(",")
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("litdata") is None:
        parser.error("the libraries are not installed: make bench NAME=stream")
    where, figures, goals = machine(), Figures(), Goals()
    for name in sections:
        SECTIONS[name](cache, scale, figures, goals)
    return conclude("stream", where, figures, goals)


def mnist(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """Every library on MNIST ×10."""
    if not MNIST.is_dir():
        print("mnist: not run, because the IDX files are not in shared/datasets/mnist\n")
        goals["mnist: ours / the best of the others"] = (None, 1.5)
        return
    source = source_in(cache / "mnist", functools.partial(mnist_x10, scale.mnist))
    race("mnist", cache / "mnist", source, scale, figures, goals)


def made(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """Every library on the made images."""
    source = source_in(cache / "made", functools.partial(blobs, scale.made))
    race("made", cache / "made", source, scale, figures, goals)


def source_in(folder: Path, make: Callable[[], Source]) -> Source:
    """The records of a dataset, made once and kept."""
    if not (folder / "source").exists():
        keep(folder / "source", make())
    return opened(folder / "source")


def race(
    name: str, folder: Path, source: Source, scale: Scale, figures: Figures, goals: Goals
) -> None:
    """All routes in a first round, then each library's best by CPU-seconds, in turn."""
    # The others' formats are kept between runs, ours is made by the code that is here now.
    shutil.rmtree(folder / OURS, ignore_errors=True)
    ways = 3 if scale.is_check else None
    routes = [(module, route) for module in ROUTES for route in ROUTES[module][:ways]]
    outcomes: dict[Route, list[Outcome]] = {}
    failures: dict[Route, str] = {}
    for _ in range(scale.rounds):
        for each in routes:
            try:
                outcome = read(each, folder, source, scale)
                outcomes.setdefault(each, []).append(outcome)
            except Failed as failure:
                failures[each] = str(failure)
        best = best_routes(outcomes).values()
        routes = [each for each in outcomes if each in best or each[0] in (OURS, SCAN)]
    medians = {each: medians_of(found) for each, found in outcomes.items()}
    print_race(f"{name}, {len(source.labels):,} records", medians, failures)
    figures[name] = {", ".join(each): found for each, found in medians.items()} | {
        ", ".join(each): {"not run": reason} for each, reason in failures.items()
    }
    rates = {
        module: medians[module, route]["records_per_cpu_second"]
        for module, route in best_routes(outcomes).values()
    }
    ours, _ = rates.pop(OURS, None), rates.pop(SCAN, None)
    rival = max(rates, key=rates.__getitem__, default="the best of the others")
    goals[f"{name}: ours / {rival}"] = (ratio(ours, rates.get(rival)), 1.5)
    for scan in ROUTES[SCAN]:
        reached = [medians.get((OURS, scan.partition(",")[0])), medians.get((SCAN, scan))]
        both = [each and each["records_per_cpu_second"] for each in reached]
        goals[f"{name}: ours / raw scan, {scan}"] = (ratio(*both), 0.8)


def read(each: Route, folder: Path, source: Source, scale: Scale) -> Outcome:
    """One measurement of a route; a check compares an epoch's records with the source's.

    The library's own format is written when it is not there. Raises Failed.
    """
    module, route = each
    own = folder / (OURS if module == SCAN else module)
    if not own.exists():
        run("streams.write", own.name, folder / "source", own)
    outcome = run(
        "streams.measure", module, route, own, list(source.shape), "--seconds", scale.seconds,
        *(["--whole"] if module in READING_AHEAD else []),
        *(["--totals"] if scale.is_check else []),
    )  # fmt: skip
    if scale.is_check:
        compare(outcome, source)
    return outcome


def compare(outcome: Outcome, source: Source) -> None:
    """Raises Failed unless an epoch's records are the source's."""
    expected = len(source.labels), int(source.labels.sum()), int(source.images.sum())
    found = tuple(int(outcome.pop(f"epoch_{key}")) for key in ("records", "labels", "pixels"))
    if found != expected:
        raise Failed(f"records, labels and pixels of an epoch are {found}, not {expected}")


def best_routes(outcomes: Mapping[Route, list[Outcome]]) -> dict[str, Route]:
    """By module: the route with most records a CPU-second in its first round."""
    rates = {each: found[0]["records_per_cpu_second"] for each, found in outcomes.items()}
    ascending = sorted(rates, key=rates.__getitem__)
    best = {module: (module, route) for module, route in ascending}
    return {module: best[module] for module in ROUTES if module in best}


def medians_of(outcomes: list[Outcome]) -> Outcome:
    """The median of each figure."""
    return {key: median([each[key] for each in outcomes]) for key in outcomes[0]}


def print_race(title: str, medians: Mapping[Route, Outcome], failures: Mapping[Route, str]) -> None:
    ascending = sorted(medians, key=lambda each: -medians[each]["records_per_cpu_second"])
    rows = [
        (
            ", ".join(each),
            medians[each]["records_per_cpu_second"],
            medians[each]["records"] / medians[each]["wall_seconds"],
            medians[each]["first_batch_seconds"],
            medians[each]["peak_mib"],
            medians[each]["tree_mib"],
        )
        for each in ascending
    ]
    columns = ("records/CPU-s", "records/s", "first batch s", "peak MiB", "MiB with children")
    table((title, *columns), rows)
    for each, reason in failures.items():
        print(f"{', '.join(each)}: not run: {reason}")
    print(flush=True)


def copied(cache: Path, records: int, copies: int) -> Path:
    """A dataset of ours: so many pictures, each shard under `copies` names."""
    folder = cache / "squares" / f"{records}x{copies}"
    shutil.rmtree(folder, ignore_errors=True)
    write_dataset(squares(records, PIXELS), folder, copies=copies)
    return folder


def shuffle(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """What is stored sorted by class, by the window: the classes of batches, and the positions."""
    found = {
        (records, window): run("streams.shuffling", records, window)
        for records in scale.sorted
        for window in WINDOWS
    }
    rows = [
        (f"{window:,}", each["records"], *(each[key] for key in SHUFFLED))
        for (_, window), each in found.items()
    ]
    header = ("shuffle: window", "records", "classes from even", "if drawn", "rank correlation")
    table(header, rows)
    figures["shuffle"] = {f"{records}, {window}": each for (records, window), each in found.items()}


def memory(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """The same number of batches of one dataset, of ten and of a hundred times as many records."""
    found = {}
    for copies in (1, 10, 100):
        folder = copied(cache, scale.small, copies)
        found[copies] = run("streams.probe", "memory", folder, scale.small * 100 // BATCH)
    own = {copies: each["peak_mib"] - each["before_mib"] for copies, each in found.items()}
    rows = [
        (f"{copies}×", scale.small * copies, each["before_mib"], each["peak_mib"], own[copies])
        for copies, each in found.items()
    ]
    table(("memory, the same window", "records", "before MiB", "peak MiB", "its own MiB"), rows)
    figures["memory"] = {str(copies): each for copies, each in found.items()}
    goals["the stream's own memory, 10× / 100×"] = (own[10] / own[100], 0.8)


def workers(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """CPU-seconds of one epoch's global batches, added up over 1, 2 and 4 workers."""
    folder = copied(cache, scale.small, 100)
    seconds = {
        size: sum(share_seconds(folder, rank, size) for rank in range(size))
        for size in ((1, 2) if scale.is_check else (1, 2, 4))
    }
    rows = [(size, each, each / seconds[1]) for size, each in seconds.items()]
    table(("workers", "CPU-seconds of all", "to one worker"), rows)
    figures["workers"] = {str(size): each for size, each in seconds.items()}
    goals["one worker's CPU-seconds / two workers'"] = (seconds[1] / seconds[2], 0.8)


def share_seconds(folder: Path, rank: int, size: int) -> float:
    """CPU-seconds of one worker's part of an epoch."""
    return run("streams.probe", "share", folder, rank, size)["cpu_seconds"]


def resume(cache: Path, scale: Scale, figures: Figures, goals: Goals) -> None:
    """From opening the stream at a random position to its batch, in files that all differ."""
    for name, source in (
        (f"{scale.large:,} of 8×8", squares(scale.large, 8)),
        (f"{scale.made:,} of 3×64×64", blobs(scale.made)),
    ):
        folder = cache / "resume"
        shutil.rmtree(folder, ignore_errors=True)
        write_dataset(source, folder)
        found = run("streams.probe", "resume", folder, scale.positions)
        rows = [(key.removesuffix("_seconds"), 1000 * each) for key, each in found.items()]
        table((f"resuming in {name}", "ms"), rows)
        figures[f"resume, {name}"] = found
        # The first in its process, as every resumed training is.
        beyond = found["first_seconds"] - found["row_group_seconds"]
        goals[f"100 ms / resuming in {name} beyond one row group"] = (0.1 / beyond, 1.0)


def ratio(one: float | None, other: float | None) -> float | None:
    """One by the other, None when either is missing."""
    return one / other if one and other else None


SECTIONS: dict[str, Callable[[Path, Scale, Figures, Goals], None]] = {
    "mnist": mnist,
    "made": made,
    "shuffle": shuffle,
    "memory": memory,
    "workers": workers,
    "resume": resume,
}


if __name__ == "__main__":
    sys.exit(main())
