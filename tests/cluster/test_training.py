"""What a worker does before the first step and after the last, without a place around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from aigc.data.importers import Options, import_dataset
from aigc.models.artifact import load_model
from aigc.models.attention import AttentionConfig
from aigc.training.config import TrainingConfig
from aigc.training.world import World
from cluster.training import TrainingRequest, train_worker
from cluster.workspace import RunFolder, Workspace

LINES = [f"Sire, {number} ships of Málaga have come to harbour.\n" for number in range(200)]


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> str:
    """Records of 32 bytes of a text."""
    (tmp_path / "tale.txt").write_text("".join(LINES))
    options = Options(length=32)
    made, _ = import_dataset(workspace.datasets, "text", "tale", tmp_path / "tale.txt", options)
    return made.reference


def request(workspace: Workspace, dataset: str, run: Path, tokens: str) -> TrainingRequest:
    model = AttentionConfig(width=16, depth=1, heads=2, tokens=tokens, vocabulary=270)  # type: ignore[arg-type]
    training = TrainingConfig(steps=6, batch_size=16, report_every=3, checkpoint_every=3)
    return TrainingRequest(workspace.datasets, dataset, model, training, RunFolder(run))


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_a_vocabulary_is_read_off_before_the_first_step_and_kept(
    tokens: str, workspace: Workspace, dataset: str, tmp_path: Path
) -> None:
    asked = request(workspace, dataset, tmp_path / "run", tokens)
    train_worker(asked, World())
    whole = load_model(asked.run.model).model
    assert 10 < int(whole.tokens.known().sum()) <= 270  # type: ignore[operator, union-attr]

    # The last checkpoint is lost: the run goes on from the one before it, vocabulary and all.
    shutil.rmtree(asked.run.checkpoints / "step-00000006")
    train_worker(asked, World())
    resumed = load_model(asked.run.model).model.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.state_dict().items())


def test_a_picture_of_texts_is_kept(workspace: Workspace, dataset: str, tmp_path: Path) -> None:
    asked = request(workspace, dataset, tmp_path / "run", "bytes")
    train_worker(asked, World())
    assert sorted(path.name for path in asked.run.samples.iterdir()) == [
        "step-00000000.png",
        "step-00000006.png",
    ]
