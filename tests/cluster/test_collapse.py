from __future__ import annotations

import json
from pathlib import Path

import pytest

from aigc.errors import TrainingCollapsed
from aigc.metrics.collapse import CollapseConfig
from aigc.models import ModelConfig
from aigc.models.attention import AttentionConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.training.config import TrainingConfig
from aigc.training.world import World
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import RunFolder

GAN = GANConfig(width=8, latent_size=8)
WORDS = AttentionConfig(width=8, depth=1, heads=2, words=WordsConfig(count=16, width=8, share=0.75))


def request_for(
    datasets: Path, folder: Path, collapse: CollapseConfig, model: ModelConfig = GAN
) -> TrainingRequest:
    config = TrainingConfig(
        steps=8, batch_size=16, report_every=2, sample_every=4, collapse=collapse
    )
    return TrainingRequest(datasets, "digits", model, config, RunFolder(folder / "run"))


def test_a_collapse_ends_a_run_that_asked_for_it_after_its_picture(
    datasets: Path, tmp_path: Path
) -> None:
    # After four steps a generator makes noise, which lies nowhere near the digits.
    request = request_for(datasets, tmp_path, CollapseConfig(after=4, samples=60, stop=True))
    with pytest.raises(TrainingCollapsed, match="at step 4"):
        train_worker(request, World())
    assert (request.run.samples / "step-00000004.png").exists()


@pytest.mark.parametrize("model", [GAN, WORDS], ids=["gan", "words, still being learned"])
def test_figures_of_the_samples_go_to_the_journal(
    model: ModelConfig, datasets: Path, tmp_path: Path
) -> None:
    request = request_for(datasets, tmp_path, CollapseConfig(after=4, samples=60), model)
    train_worker(request, World())
    entries = [json.loads(line) for line in request.run.journal.read_text().splitlines()]
    told = [each["step"] for each in entries if "collapse/recall" in each.get("figures", {})]
    assert told == [6]
