"""On a GPU every family learns what it learns on processors: every draw is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.models import ModelConfig, build
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.contract import OptimizerConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.training.checkpoint import restore_newest, save_checkpoint
from aigc.training.config import ExecutionConfig, TrainingConfig
from aigc.training.loop import Runtime, Sums, train
from aigc.training.state import TrainingState
from aigc.training.world import World

pytestmark = pytest.mark.gpu

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CALM = OptimizerConfig(learning_rate=1e-4)
MUON = OptimizerConfig(algorithm="muon", learning_rate=1e-4)
FAMILIES: dict[str, ModelConfig] = {
    "gan": GANConfig(width=8, latent_size=8, generator=CALM, discriminator=CALM),
    "gan, article": GANConfig(
        recipe="article", width=8, latent_size=8, generator=CALM, discriminator=CALM
    ),
    "gan, relativistic": GANConfig(
        recipe="relativistic", width=8, latent_size=8, generator=CALM, discriminator=CALM
    ),
    "gan, wgan-gp, augmented": GANConfig(
        recipe="wgan-gp", width=8, latent_size=8, augment=True, generator=CALM, discriminator=CALM
    ),
    "attention": AttentionConfig(width=16, depth=2, heads=2, dropout=0.1, optimizer=MUON),
    "attention, words": AttentionConfig(
        width=16,
        depth=2,
        heads=2,
        words=WordsConfig(count=16, code_size=4, width=8, share=0.5, optimizer=CALM),
        optimizer=CALM,
    ),
    "vae": VAEConfig(width=8, latent_size=4, mixture=2, optimizer=CALM),
    "classifier": ClassifierConfig(width=4, optimizer=CALM),
}


def losses(
    dataset: Dataset,
    model: ModelConfig,
    device: torch.device,
    execution: ExecutionConfig | None = None,
    folder: Path | None = None,
) -> Tensor:
    """Every reported loss of eight steps; saved in `folder` after the fourth, and gone on with if
    that is there already."""
    config = TrainingConfig(
        steps=8,
        batch_size=32,
        seed=5,
        report_every=2,
        checkpoint_every=4,
        execution=execution or ExecutionConfig(),
    )
    found = list[float]()

    def report(step: int, figures: Mapping[str, float]) -> None:
        found.extend(value for name, value in figures.items() if name.endswith("/loss"))

    def save(state: TrainingState, sums: Sums) -> None:
        if folder is not None and state.step == 4:
            save_checkpoint(folder, state)

    state = TrainingState(build(model, dataset.manifest.layout, config.seed).to(device))
    if folder is not None:
        restore_newest(folder, state)
    stream = Stream(dataset, "train", config.batch_size, config.seed, device=device)
    train(state, stream, config, Runtime(World(device=device), report, lambda _: None, save))
    assert {each.device.type for each in state.model.parameters()} == {device.type}
    assert {each.dtype for each in state.model.parameters()} == {torch.float32}
    return torch.tensor(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_losses_are_those_of_processors(name: str, digits: Dataset) -> None:
    torch.testing.assert_close(
        losses(digits, FAMILIES[name], GPU),
        losses(digits, FAMILIES[name], CPU),
        rtol=1e-2,
        atol=1e-2,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_and_channels_last_give_nearly_the_same(name: str, digits: Dataset) -> None:
    execution = ExecutionConfig(precision="bfloat16", channels_last=True)
    torch.testing.assert_close(
        losses(digits, FAMILIES[name], GPU, execution),
        losses(digits, FAMILIES[name], GPU),
        rtol=0.05,
        atol=0.05,
    )


@pytest.mark.filterwarnings("default")  # of the compiler about itself
@pytest.mark.parametrize("name", ["gan", "attention"])
def test_compiled_it_gives_nearly_the_same(name: str, digits: Dataset) -> None:
    torch.testing.assert_close(
        losses(digits, FAMILIES[name], GPU, ExecutionConfig(compile=True)),
        losses(digits, FAMILIES[name], GPU),
        rtol=1e-2,
        atol=1e-2,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_it_goes_on_from_its_checkpoint(name: str, digits: Dataset, tmp_path: Path) -> None:
    whole = losses(digits, FAMILIES[name], GPU, folder=tmp_path)
    resumed = losses(digits, FAMILIES[name], GPU, folder=tmp_path)

    assert len(resumed) == len(whole) / 2
    torch.testing.assert_close(resumed, whole[len(resumed) :], rtol=1e-2, atol=1e-2)
