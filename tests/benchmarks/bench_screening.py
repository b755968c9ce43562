"""What screening costs a sample, and how many planted copies it catches.

Protocol: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from harness import ROOT, conclude, machine, table
from planted import COPIES, moved, shaken, trimmed_unevenly
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.generation.screening import (
    REACHES,
    Memory,
    fingerprints,
    near_duplicates,
    thumbnails,
)
from aigc.layout import Layout

SHAKESPEARE = ROOT.parent / "shared" / "datasets" / "tinyshakespeare.txt"
TEXTS = Layout(modality="text", shape=(256,))
SAMPLES = 10_000
Figures = dict[str, object]
Goals = dict[str, tuple[float | None, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--earlier", type=int, default=700_000, help="fingerprints of past nights")
    parser.add_argument("--records", type=int, default=60_000, help="of the large training set")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where, figures, goals = machine(), Figures(), Goals()
    with tempfile.TemporaryDirectory() as folder:
        dataset = import_dataset(Path(folder), "mnist-5k")[0]
        digits = dataset.records("train").stored
        printing(digits, dataset.manifest.layout, figures, goals)
        repeating(digits, dataset.manifest.layout, chosen.earlier, figures, goals)
        remembering(dataset, chosen.records, figures, goals)
    reading(figures, goals)
    return conclude("screening", where, figures, goals)


def printing(digits: Tensor, layout: Layout, figures: Figures, goals: Goals) -> None:
    """Fingerprints and thumbnails of digits, a second of the processor."""
    samples = many(digits, SAMPLES)
    rates = {
        of.__name__: SAMPLES / seconds(lambda of=of: of(samples, layout))[0]
        for of in (fingerprints, thumbnails)
    }
    figures |= {"per_second": rates}
    goals["fingerprints/s / 50,000"] = (rates["fingerprints"] / 50_000, 1.0)
    table(("digits", "a CPU-second"), list(rates.items()))


def repeating(digits: Tensor, layout: Layout, earlier: int, figures: Figures, goals: Goals) -> None:
    """Copies of digits among digits, and 100,000 of them against past nights: all different."""
    known, small = fingerprints(digits, layout), thumbnails(digits, layout)
    among = near_duplicates(known, known[:0], small, small[:0])
    honest = (among >= 0).double().mean().item()
    own = torch.where(among < 0, torch.arange(len(digits)), among)
    caught = dict[str, float]()
    for levels in (0, 3, 6, 10):
        copies = shaken(digits, levels)
        prints = fingerprints(copies, layout), thumbnails(copies, layout)
        found = near_duplicates(prints[0], known, prints[1], small)
        caught[f"± {levels} grey levels"] = (found == own).double().mean().item()
    past, night = many(digits, earlier), many(digits.flip(-1), 100_000)
    prints = [fingerprints(night, layout), fingerprints(past, layout)]
    images = [thumbnails(night, layout), thumbnails(past, layout)]
    spent, _ = seconds(lambda: near_duplicates(*prints, *images))
    figures |= {"near_duplicates": caught, "near_duplicates_honest": honest}
    figures |= {"earlier": earlier, "near_duplicate_seconds": spent}
    goals["exact copies caught"] = (caught["± 0 grey levels"], 1.0)
    goals["copies ± 6 grey levels caught"] = (caught["± 6 grey levels"], 0.95)
    goals["different digits let through"] = (1 - honest, 0.999)
    goals["30 CPU-s / 100,000 against past nights"] = (30 / spent, 1.0)
    rows = [*caught.items(), ("different digits", honest)]
    table(("near-duplicates", "called so"), rows)
    table(("100,000 digits against", "CPU-seconds"), [(f"{earlier:,}", spent)])


def remembering(dataset: Dataset, records: int, figures: Figures, goals: Goals) -> None:
    """Planted copies of mnist-5k's training split, and what a sample costs."""
    layout = dataset.manifest.layout
    digits, held_out = dataset.records("train").stored, dataset.records("test").stored
    memory = Memory.of(digits, layout)
    memory.nearest(digits[:1])
    caught = dict[str, float]()
    others = {"moved by a pixel": moved, "cropped unevenly": trimmed_unevenly}
    for name, copying in (COPIES | others).items():
        found = memory.nearest(copying(digits))
        own = found.index == torch.arange(len(digits))
        exact = found.copied if name == "exact" else found.copied & own
        caught[name] = exact.double().mean().item()
        goals[f"{name}: caught"] = (caught[name], 1.0 if name == "exact" else 0.95)
    accused = memory.nearest(held_out).copied.double().mean().item()
    spent, _ = seconds(lambda: memory.nearest(many(held_out, SAMPLES)))
    large = replace(memory, records=replace(memory.records, stored=many(digits, records)))
    large.nearest(digits[:1])
    far, _ = seconds(lambda: large.nearest(many(held_out, 2560)))
    costs = {f"{len(digits):,}": spent / SAMPLES * 1e6, f"{records:,}": far / 2560 * 1e6}
    figures |= {"caught": caught, "accused": accused, "held_out": len(held_out)}
    figures |= {"nearest_microseconds": costs}
    goals["held-out digits not accused"] = (1 - accused, 0.99)
    goals["5 CPU-s / 10,000 digits"] = (5 / spent, 1.0)
    table(("planted copies", "caught"), [*caught.items(), ("held-out digits", accused)])
    table(("training records", "CPU-µs a sample"), list(costs.items()))


def reading(figures: Figures, goals: Goals) -> None:
    """The last tenth of tinyshakespeare against the rest, in records of 256 bytes."""
    if not SHAKESPEARE.exists():
        print(f"{SHAKESPEARE} is not there: text was not measured\n")
        goals["texts: half a copy caught"] = (None, 0.95)
        return
    content = np.frombuffer(SHAKESPEARE.read_bytes(), np.uint8)
    stored = torch.from_numpy(content[: len(content) // 256 * 256].copy()).view(-1, 256)
    training, fresh = stored[: len(stored) * 9 // 10], stored[len(stored) * 9 // 10 :]
    memory = Memory.of(training, TEXTS)
    halves = fresh.clone()
    halves[:, 40:168] = training[: len(fresh), 100:228]
    memory.nearest(fresh[:1])
    spent, found = seconds(lambda: memory.nearest(fresh))
    accused = found.copied.double().mean().item()
    caught = memory.nearest(halves).copied.double().mean().item()
    printed, prints = seconds(lambda: fingerprints(stored, TEXTS))
    none = torch.empty(len(prints), 0, dtype=torch.uint8)
    repeated = near_duplicates(prints, prints[:0], none, none[:0], REACHES["text"])
    honest = (repeated >= 0).double().mean().item()
    costs = {"nearest": spent / len(fresh) * 1e6, "fingerprint": printed / len(stored) * 1e6}
    figures |= {"texts_caught": caught, "texts_accused": accused, "texts_repeated": honest}
    figures |= {"text_microseconds": costs}
    goals["texts: half a copy caught"] = (caught, 0.95)
    goals["texts: held-out not accused"] = (1 - accused, 0.99)
    goals["texts: different ones let through"] = (1 - honest, 0.999)
    table(("texts of 256 bytes", "CPU-µs"), list(costs.items()))


def many(digits: Tensor, count: int) -> Tensor:
    """So many different images: the digits, and the digits moved by up to three pixels each way."""
    moves = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]
    moves.sort(key=lambda move: move[0] ** 2 + move[1] ** 2)
    needed = moves[: -(-count // len(digits))]
    rounds = -(-count // (len(digits) * len(needed)))
    moved = torch.cat([digits.roll(move, (2, 3)) for move in needed])
    return torch.cat([moved.rot90(turn, (2, 3)) for turn in range(rounds)])[:count]


def seconds(work: Callable[[], Tensor | object]) -> tuple[float, object]:
    """What the processor spent on it, and what came of it."""
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


if __name__ == "__main__":
    sys.exit(main())
