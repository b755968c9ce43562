"""The founding article's GAN beside the demo's two models, all judged by the same extractor.

Protocol, and what held-out means here: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from harness import conclude, machine, table

from aigc.data.importers import import_dataset
from aigc.metrics import METRICS, Evidence, Features, extract, parse
from aigc.modalities import modality
from aigc.models.artifact import load_model
from aigc.models.classifier import Classifier
from aigc.seeding import generator
from cluster.evaluation import features_of
from cluster.places import Here, Worker
from cluster.resources import Resources
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import execute
from jobs.session import Session, open_session
from jobs.spec import Train, load
from jobs.specs import SPECS
from jobs.submission import prepare

DATASET = "mnist-5k"
SAMPLES = 5000
ARTICLE, DEMO = "article-gan", ("digits-gan", "digits-vae")
METRIC_NAMES = (
    "frechet_5k",
    "kernel_5k",
    "coverage_5k",
    "recall_5k",
    "precision_5k",
    "class_balance_min_5k",
    "class_balance_max_5k",
    "inception_score_5k",
    "neighbour_ratio_5k",
)
LONGER = 30_000
"""Steps of a second training of the article's recipe, which learns slowly: about the CPU-seconds
of both demo models together."""
TIMES_BETTER = 5.0
LOST = 0.01
"""A class that is predicted for less than this share of the samples is lost; its due is 0.1."""
Figures = dict[str, float]
"""By the metric's name, and `cpu_seconds` of the training where there was one."""


class MeteredHere(Here):
    """This process, writing down the CPU-seconds of each training."""

    def __init__(self) -> None:
        self.cpu_seconds: list[float] = []

    def train(self, worker: Worker, resources: Resources) -> None:
        """Train as Here does."""
        started = time.process_time()
        super().train(worker, resources)
        self.cpu_seconds.append(time.process_time() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each recipe")
    parser.add_argument("--pictures", type=Path, help="a folder for each training's last sheet")
    chosen = parser.parse_args()
    seeds = range(chosen.seeds)
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        # A tracking server that happens to be configured must not get a benchmark's runs.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        workspace = Workspace.at(folder)
        import_dataset(workspace.datasets, DATASET)
        place = MeteredHere()
        session = dataclasses.replace(open_session(workspace, "here", Reporter()), place=place)
        figures = dict(pair for seed in seeds for pair in of_one_seed(seed, session, place).items())
        references = yardsticks(session, workspace)
        if chosen.pictures:
            keep_pictures(workspace, chosen.pictures)
    show({**references, **figures})
    ratios = [times_better(figures, seed) for seed in seeds]
    say_whether_collapsed(figures)
    goals = {"Fréchet of the article / of the champion, worst seed": (min(ratios), TIMES_BETTER)}
    return conclude("article", where, {**references, **figures, "ratios": ratios}, goals)


def of_one_seed(seed: int, session: Session, place: MeteredHere) -> dict[str, Figures]:
    """The three shipped recipes, and the article's again with many more steps."""
    found = {
        f"{name} seed {seed}": trained(name, seed, session, place) for name in (ARTICLE, *DEMO)
    }
    longer = trained(ARTICLE, seed, session, place, [f"training.steps={LONGER}"])
    return {**found, f"{ARTICLE} seed {seed}, {LONGER} steps": longer}


def recipe(name: str, settings: Sequence[str] = ()) -> Train:
    """A shipped training spec with some fields set."""
    spec = load(SPECS / "training" / f"{name}.yaml", settings)
    assert isinstance(spec, Train)
    return spec


def trained(
    name: str, seed: int, session: Session, place: MeteredHere, settings: Sequence[str] = ()
) -> Figures:
    """The figures of a shipped recipe under another seed, and the CPU-seconds of its training."""
    metrics = f"evaluation.metrics=[{', '.join(METRIC_NAMES)}]"
    spec = recipe(name, [metrics, f"training.seed={seed}", *settings])
    place.cpu_seconds.clear()
    outcome = execute(prepare(spec, session), session)
    # The first training is the model's own; the extractor's comes after it, when there is none.
    figures: Figures = outcome["evaluation"]["figures"]
    return {**figures, "cpu_seconds": place.cpu_seconds[0]}


def yardsticks(session: Session, workspace: Workspace) -> dict[str, Figures]:
    """What the data itself scores, and what uniform noise does."""
    extractor_name = f"{DATASET}-extractor"
    folder = workspace.root / "extractor"
    version = session.registry.latest(extractor_name)
    session.registry.fetch(version, folder)
    dataset, _ = import_dataset(workspace.datasets, DATASET)
    extractor = load_model(folder).model
    assert isinstance(extractor, Classifier)
    held_out = features_of(dataset, "test", extractor)
    training = features_of(dataset, "train", extractor)
    shape = (SAMPLES, *dataset.manifest.layout.shape)
    pixels = torch.randint(256, shape, generator=generator(0, "noise"), dtype=torch.uint8)
    decode = modality(dataset.manifest.layout.modality).decode
    noise = extract(extractor, (decode(part) for part in torch.split(pixels, 500)))
    return {
        f"training split ({len(training.features)})": judged(training, held_out, training),
        "uniform noise": judged(noise, held_out, training),
    }


def keep_pictures(workspace: Workspace, folder: Path) -> None:
    """Copy the last contact sheet of each training to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for samples in workspace.root.glob("runs/*/samples"):
        shutil.copy(max(samples.glob("*.png")), folder / f"{samples.parent.name}.png")


def judged(records: Features, held_out: Features, training: Features) -> Figures:
    """The figures of records that no model made, however many there are."""
    evidence = Evidence(records, held_out, training)
    return {name: METRICS[parse(name).metric].compute(evidence) for name in METRIC_NAMES}


def times_better(figures: Mapping[str, Figures], seed: int) -> float:
    """The article's Fréchet distance, its better one, over the better one of the demo's models."""
    champion = min(figures[f"{name} seed {seed}"]["frechet_5k"] for name in DEMO)
    article = [
        row for name, row in figures.items() if name.split(",")[0] == f"{ARTICLE} seed {seed}"
    ]
    return min(row["frechet_5k"] for row in article) / champion


def show(figures: Mapping[str, Figures]) -> None:
    """One line a recipe, one column a figure."""
    columns = (*METRIC_NAMES, "cpu_seconds")
    header = ("judged on the held-out split", *(name.removesuffix("_5k") for name in columns))
    table(header, [(name, *(row.get(each) for each in columns)) for name, row in figures.items()])


def say_whether_collapsed(figures: Mapping[str, Figures]) -> None:
    """A sentence for each training of the article's recipe.

    The figures cannot tell a model that has collapsed from one that makes no digits at all; the
    pictures can.
    """
    for name, row in figures.items():
        if name.startswith(ARTICLE):
            rarest, most = row["class_balance_min_5k"], row["class_balance_max_5k"]
            said = "has lost classes, or makes no digits" if rarest < LOST else "keeps every class"
            print(
                f"{name} {said}: its rarest class has {rarest:.1%} of the samples, its most "
                f"frequent {most:.1%}, and {row['coverage_5k']:.1%} of the held-out digits "
                "are covered"
            )
    print()


if __name__ == "__main__":
    sys.exit(main())
