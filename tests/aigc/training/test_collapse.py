from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.errors import TrainingCollapsed
from aigc.metrics.collapse import CollapseConfig
from aigc.models import build
from aigc.models.contract import Model, Phase
from aigc.models.gan import GANConfig
from aigc.training.collapse import CollapseWatch

STOPPING = CollapseConfig(after=10, samples=150, stop=True)
WARNING = STOPPING.model_copy(update={"stop": False})


def batches(digits: Dataset) -> Iterator[Batch]:
    return (batch for batch, _ in Stream(digits, "train", 64, seed=0).batches())


class Rehearsed(Model):
    """Makes the records that it was given, in their order."""

    noise_size = 2

    def __init__(self, dataset: Dataset, records: Tensor) -> None:
        super().__init__(dataset.manifest.layout)
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.records, self.made = records, 0

    def phases(self) -> list[Phase]:
        return []

    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        self.made += len(noise)
        return self.records[self.made - len(noise) : self.made]


def collapsed(digits: Dataset) -> Model:
    """A GAN whose last layer has only a bias left: one image, whatever the noise and the label."""
    model = build(GANConfig(width=8, latent_size=8), digits.manifest.layout, seed=0)
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.ConvTranspose2d)][-1]
    torch.nn.init.zeros_(last.weight)
    return model.eval()


def test_a_planted_collapse_ends_the_training(digits: Dataset) -> None:
    watch = CollapseWatch(STOPPING, batches(digits), seed=0)
    with pytest.raises(TrainingCollapsed, match=r"step 20: recall is 0\.000.*training\.seed"):
        watch.look(collapsed(digits), 20)


def test_without_stop_it_is_a_warning_and_figures_in_the_next_report(
    digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    watch = CollapseWatch(WARNING, batches(digits), seed=0)
    assert watch.hear({"discriminator/accuracy_real": 1.0}) == {"discriminator/accuracy_real": 1.0}
    with caplog.at_level(logging.WARNING):
        watch.look(collapsed(digits), 20)
    assert "collapsed at step 20" in caplog.text
    told = watch.hear({"generator/loss": 1.0})
    assert told["collapse/recall"] == 0.0
    assert told["collapse/class_balance_max"] == 1.0
    assert told["collapse/accuracy"] == 1.0
    assert watch.hear({"generator/loss": 1.0}) == {"generator/loss": 1.0}


def test_real_records_pass(digits: Dataset) -> None:
    source = batches(digits)
    others = torch.cat([next(source).records for _ in range(4)])[-150:]
    watch = CollapseWatch(STOPPING, source, seed=0)
    watch.look(Rehearsed(digits, others), 20)
    assert watch.hear({})["collapse/recall"] > 0.3


def test_nothing_is_asked_of_the_first_steps(digits: Dataset) -> None:
    watch = CollapseWatch(STOPPING, batches(digits), seed=0)
    watch.look(collapsed(digits), 9)
    assert watch.hear({}) == {}


def test_accuracy_is_the_mean_since_the_last_look(digits: Dataset) -> None:
    limits = WARNING.model_copy(
        update={"stop": True, "recall_at_least": 0.0, "accuracy_at_most": 0.9}
    )
    source = batches(digits)
    model = Rehearsed(digits, torch.cat([next(source).records for _ in range(8)]))
    watch = CollapseWatch(limits, source, seed=0)
    watch.hear({"discriminator/accuracy_real": 1.0, "discriminator/accuracy_fake": 0.7})
    watch.look(model, 20)
    watch.hear({"discriminator/accuracy_real": 1.0, "discriminator/accuracy_fake": 0.9})
    with pytest.raises(TrainingCollapsed, match=r"accuracy is 0\.950, above 0\.9"):
        watch.look(model, 30)
