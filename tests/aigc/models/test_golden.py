"""Golden loss curves: what each recipe's first steps come to under a fixed seed.

After a change that is meant to move them:

    .venv/bin/python tests/aigc/models/test_golden.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.models import ModelConfig, build
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.training.config import TrainingConfig
from aigc.training.loop import CLOCKED, Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World

CURVES = Path(__file__).parents[2] / "golden" / "curves"
TRAINING = TrainingConfig(steps=20, batch_size=32, seed=3, report_every=5)
RECIPES: dict[str, ModelConfig] = {
    "gan-hinge": GANConfig(latent_size=8, width=8),
    "gan-article": GANConfig(recipe="article", latent_size=16, width=16),
    "gan-wgan-gp": GANConfig(recipe="wgan-gp", latent_size=8, width=8),
    "gan-relativistic": GANConfig(recipe="relativistic", latent_size=8, width=8),
    "vae": VAEConfig(latent_size=4, width=8, mixture=2),
    "attention": AttentionConfig(width=16, depth=2, heads=2, dropout=0.1),
    "words": AttentionConfig(
        width=16, depth=2, heads=2, words=WordsConfig(count=32, code_size=4, width=8, share=0.5)
    ),
    "classifier": ClassifierConfig(width=4, feature_size=16),
}
NO_LOSSES = ("accuracy", "used", "gradient_norm")
Curve = dict[str, list[float]]


def curve(config: ModelConfig, dataset: Dataset) -> Curve:
    """The losses of every phase, at each report in whose steps it ran.

    Not the accuracies, nor how many words are used: they count, and one record more or less is
    no small difference. Nor the norms of gradients: they say of one step what a curve says of all.
    """
    found: Curve = {}

    def report(step: int, figures: Mapping[str, float]) -> None:
        for name, figure in figures.items():
            if not name.startswith(CLOCKED) and not any(each in name for each in NO_LOSSES):
                found.setdefault(name, []).append(figure)

    state = TrainingState(build(config, dataset.manifest.layout, TRAINING.seed))
    stream = Stream(dataset, "train", TRAINING.batch_size, TRAINING.seed)
    runtime = Runtime(World(), report, lambda state: None, lambda *_: None)
    train(state, stream, TRAINING, runtime)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_steps_are_those_of_the_golden_curve(name: str, digits: Dataset) -> None:
    golden = json.loads((CURVES / f"{name}.json").read_text())
    found = curve(RECIPES[name], digits)

    assert found.keys() == golden.keys()
    for figure, values in golden.items():
        assert len(values) >= 2
        assert found[figure] == pytest.approx(values, rel=1e-3), figure


def test_every_curve_has_its_recipe() -> None:
    assert sorted(path.stem for path in CURVES.iterdir()) == sorted(RECIPES)


def write() -> None:
    """Replace the golden curves by those of the code as it is."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset, _ = import_dataset(Path(folder), "digits")
        for name, config in RECIPES.items():
            figures = curve(config, dataset)
            lines = [f"  {json.dumps(key)}: {json.dumps(figures[key])}" for key in figures]
            (CURVES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write()
