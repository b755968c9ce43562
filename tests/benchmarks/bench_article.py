"""The founding article's GAN beside the demo's two models, all judged by the same extractor.

Protocol, and what held-out means here: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

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
from jobs.spec import Train, load
from jobs.specs import SPECS
from jobs.submission import Session, open_session, prepare

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
TIMES_BETTER = 5.0
LOST = 0.01
"""A class that is predicted for less than this share of the samples is lost; its due is 0.1."""
BELIEVABLE = 0.5
"""Below this precision what is made are no digits, and then the classes say nothing."""

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
    seeds = range(parser.parse_args().seeds)
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
    show({**references, **figures})
    ratios = [times_better(figures, seed) for seed in seeds]
    say_whether_collapsed(figures)
    goals = {"Fréchet of the article / of the champion, worst seed": (min(ratios), TIMES_BETTER)}
    return conclude("article", where, {**references, **figures, "ratios": ratios}, goals)


def of_one_seed(seed: int, session: Session, place: MeteredHere) -> dict[str, Figures]:
    """The three shipped recipes, and the article's again with the CPU-seconds of the dearest.

    As shipped, the article's is the cheapest by far, and the article itself trains longer.
    """
    found = {
        f"{name} seed {seed}": trained(name, seed, session, place) for name in (ARTICLE, *DEMO)
    }
    shipped = found[f"{ARTICLE} seed {seed}"]["cpu_seconds"]
    times = math.ceil(max(each["cpu_seconds"] for each in found.values()) / shipped)
    steps = times * recipe(ARTICLE).training.steps
    longer = trained(ARTICLE, seed, session, place, [f"training.steps={steps}"])
    return {**found, f"{ARTICLE} seed {seed}, {steps} steps": longer}


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
    """A sentence for each training of the article's recipe."""
    for name, row in figures.items():
        if name.startswith(ARTICLE):
            rarest, most = row["class_balance_min_5k"], row["class_balance_max_5k"]
            print(
                f"{name} {_state(row)}: precision {row['precision_5k']:.1%}, "
                f"coverage {row['coverage_5k']:.1%}, its rarest class {rarest:.1%} "
                f"of the samples and its most frequent {most:.1%}"
            )
    print()


def _state(row: Figures) -> str:
    if row["precision_5k"] < BELIEVABLE:
        return "makes no digits yet"
    return "has collapsed" if row["class_balance_min_5k"] < LOST else "has not lost a class"


if __name__ == "__main__":
    sys.exit(main())
