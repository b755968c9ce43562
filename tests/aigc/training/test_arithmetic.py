from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.models import ModelConfig, build
from aigc.models.attention import AttentionConfig
from aigc.models.contract import OptimizerConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.training.config import ExecutionConfig, TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World

OPTIMIZER = OptimizerConfig(learning_rate=1e-4)
MODELS: dict[str, ModelConfig] = {
    "gan": GANConfig(width=8, latent_size=8, generator=OPTIMIZER, discriminator=OPTIMIZER),
    "vae": VAEConfig(width=8, latent_size=4, mixture=0, optimizer=OPTIMIZER),
    "words": AttentionConfig(
        width=16,
        depth=1,
        heads=2,
        words=WordsConfig(count=16, width=8, share=0.5, optimizer=OPTIMIZER),
        optimizer=OPTIMIZER,
    ),
}


def losses(dataset: Dataset, model: ModelConfig, execution: ExecutionConfig) -> Tensor:
    """Every reported loss of eight steps."""
    config = TrainingConfig(steps=8, batch_size=32, seed=5, report_every=2, execution=execution)
    found = list[float]()

    def report(step: int, figures: dict[str, float]) -> None:
        found.extend(value for name, value in figures.items() if name.endswith("/loss"))

    state = TrainingState(build(model, dataset.manifest.layout, config.seed))
    stream = Stream(dataset, "train", config.batch_size, config.seed)
    train(state, stream, config, Runtime(World(), report, lambda _: None, lambda *_: None))
    assert all(each.dtype == torch.float32 for each in state.model.parameters())
    return torch.tensor(found)


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_gives_the_same_to_rounding(name: str, digits: Dataset) -> None:
    found = losses(digits, MODELS[name], ExecutionConfig(channels_last=True))
    torch.testing.assert_close(
        found, losses(digits, MODELS[name], ExecutionConfig()), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_gives_nearly_the_same_and_not_the_same(name: str, digits: Dataset) -> None:
    found = losses(digits, MODELS[name], ExecutionConfig(precision="bfloat16"))
    expected = losses(digits, MODELS[name], ExecutionConfig())
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")  # of the compiler about itself
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled_it_gives_the_same_to_rounding(name: str, digits: Dataset) -> None:
    found = losses(digits, MODELS[name], ExecutionConfig(compile=True))
    torch.testing.assert_close(
        found, losses(digits, MODELS[name], ExecutionConfig()), rtol=1e-3, atol=1e-4
    )
