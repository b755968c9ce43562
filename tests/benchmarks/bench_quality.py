"""How good the models are that so many seconds of one thread, or of a GPU, buy, by the protocol of
RESULTS.md.

Each recipe in quality/ is a spec as any other, whose steps are chosen for its seconds on the
machine that RESULTS.md names; the seconds that it took here stand beside its figures. Those of a
GPU are by the clock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from harness import ROOT, conclude, machine, table

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.importers.contract import Options
from aigc.data.importers.splits import Shares
from aigc.metrics import needed
from aigc.modalities import modality
from aigc.models.artifact import load_model
from aigc.models.attention import Attention
from aigc.seeding import Draws
from aigc.training.world import World
from cluster.evaluation import EvaluationRequest, evaluate_worker
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import Workspace
from jobs.spec import Train, load
from jobs.specs import SPECS

SHARED = ROOT.parent / "shared" / "datasets"
RECIPES = Path(__file__).parent / "quality"
BLOCK = 250
Figures = dict[str, object]


@dataclass(frozen=True)
class Target:
    """A recipe, the seconds that it may take, and figures that must be low."""

    recipe: str
    seconds: float
    asked: dict[str, float]
    beside: tuple[str, ...] = ()


TARGETS = (
    Target("text", 143, {"nats_per_character": 1.75}),
    Target("vae-samples", 120, {"frechet_10k": 45}, ("coverage_10k", "neighbour_ratio_10k")),
    Target("gan-samples", 120, {"frechet_10k": 90}, ("coverage_10k", "recall_10k")),
    Target("vae-likelihood", 120, {"nats_per_image": 95}),
    Target("vae-likelihood-20-minutes", 1200, {"nats_per_image": 86}),
    Target("attention-images", 120, {}, ("nats_per_image",)),
)
ON_GPU = (
    Target("text-on-gpu", 120, {"nats_per_character": 1.4697}),
    Target("vae-likelihood-on-gpu", 120, {"nats_per_image": 86}),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="recipes; all of the device otherwise")
    parser.add_argument("--budget", type=float, default=1.0, help="steps, times so much")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where, figures, rows = machine(), Figures(), list[tuple[object, ...]]()
    targets = TARGETS if chosen.device == "cpu" else ON_GPU
    goals = dict[str, tuple[float | None, float]]()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Workspace.at(folder), torch.device(chosen.device), chosen.budget)
        for target in targets:
            asked = {f"{target.recipe}: {name}": most for name, most in target.asked.items()}
            if chosen.only is not None and target.recipe not in chosen.only:
                goals |= {f"{name}, asked / reached": (None, 1.0) for name in asked}
                continue
            reached, seconds = bench.run(target)
            figures[target.recipe] = {f"{chosen.device}_seconds": seconds, **reached}
            rows += [(target.recipe, seconds, name, value) for name, value in reached.items()]
            for name, most in target.asked.items():
                goals[f"{target.recipe}: {name}, asked / reached"] = (most / reached[name], 1.0)
            goals[f"{target.recipe}: seconds, allowed / taken"] = (
                target.seconds * chosen.budget / seconds,
                1.0,
            )
    table(("recipe", f"{chosen.device} s", "figure", "reached"), rows)
    return conclude("quality", where, figures, goals)


class Bench:
    """The datasets, the extractor, and where the recipes are run."""

    def __init__(self, workspace: Workspace, device: torch.device, budget: float) -> None:
        self._workspace, self._device, self._budget = workspace, device, budget
        self._extractor: Path | None = None

    def run(self, target: Target) -> tuple[dict[str, float], float]:
        """The figures of a recipe, and the seconds that its training took."""
        spec = load(RECIPES / f"{target.recipe}.yaml")
        assert isinstance(spec, Train)
        is_text = target.recipe.startswith("text")
        dataset = self._text(spec) if is_text else self._mnist()
        seconds = self._train(spec, dataset, target.recipe)
        model = self._workspace.run(target.recipe).model
        if is_text:
            return {"nats_per_character": self._nats_per_character(model)}, seconds
        return self._judged(model, (*target.asked, *target.beside)), seconds

    def _train(self, spec: Train, dataset: Dataset, name: str) -> float:
        steps = round(spec.training.steps * self._budget)
        never = {"sample_every": 10 * steps, "checkpoint_every": 10 * steps}
        config = spec.training.model_copy(update={"steps": steps, **never})
        root, run = self._workspace.datasets, self._workspace.run(name)
        request = TrainingRequest(root, dataset.reference, spec.model, config, run)
        clock = time.process_time if self._device.type == "cpu" else time.perf_counter
        started = clock()
        train_worker(request, World(device=self._device))
        return clock() - started

    def _mnist(self) -> Dataset:
        return import_dataset(self._workspace.datasets, "idx", "mnist", SHARED / "mnist")[0]

    def _text(self, spec: Train) -> Dataset:
        """The first nine tenths of the characters, in records as long as the model looks back.

        The dataset's name says how long, and from how many beginnings the text is cut into them:
        shakespeare-256-4 has it four times, each time begun 64 characters later.
        """
        _, length, *begun = spec.data.dataset.split("-")
        text, _ = halves()
        count = int(begun[0]) if begun else 1
        text = b"".join(text[number * int(length) // count :] for number in range(count))
        path = self._workspace.root / "train.txt"
        path.write_bytes(text)
        options, everything = Options(length=int(length)), Shares(0, 0)
        root, name = self._workspace.datasets, spec.data.dataset
        return import_dataset(root, "text", name, path, options, everything)[0]

    @torch.inference_mode()
    def _nats_per_character(self, folder: Path) -> float:
        """Over the whole last tenth, in blocks that know nothing of the one before them."""
        model = load_model(folder).model.to(self._device)
        assert isinstance(model, Attention)
        length, (_, text) = model.layout.size, halves()
        padded = text + b"\0" * (-len(text) % length)
        stored = torch.frombuffer(bytearray(padded), dtype=torch.uint8).reshape(-1, length)
        decode = modality("text").decode
        parts = [decode(part).to(self._device) for part in stored.split(BLOCK)]
        nats = [-model.log_likelihood(part, None, Draws(0, 0)).double().sum() for part in parts]
        return float(sum(nats)) / len(text)

    def _judged(self, model: Path, names: tuple[str, ...]) -> dict[str, float]:
        """Figures by the product's own evaluation, on MNIST's test split."""
        metrics = tuple("log_likelihood" if name == "nats_per_image" else name for name in names)
        dataset = self._mnist()
        extractor = self._trained_extractor() if needed(metrics) else None
        request = EvaluationRequest(
            self._workspace.datasets,
            dataset.reference,
            model,
            extractor,
            metrics,
            use_gpu=self._device.type == "cuda",
        )
        found = evaluate_worker(request)
        figures = dict(found.figures)
        if "log_likelihood" in figures:
            figures["nats_per_image"] = -figures.pop("log_likelihood")
        if found.floor is not None:
            figures["floor"] = found.floor
        return figures

    def _trained_extractor(self) -> Path:
        """The shipped recipe's classifier, of MNIST's training split."""
        if self._extractor is None:
            spec = load(SPECS / "training" / "extractor.yaml")
            assert isinstance(spec, Train)
            self._train(spec, self._mnist(), "extractor")
            self._extractor = self._workspace.run("extractor").model
        return self._extractor


def halves() -> tuple[bytes, bytes]:
    """tinyshakespeare's first nine tenths, which are trained on, and its last."""
    text = (SHARED / "tinyshakespeare.txt").read_bytes()
    cut = int(0.9 * len(text))
    return text[:cut], text[cut:]


if __name__ == "__main__":
    sys.exit(main())
