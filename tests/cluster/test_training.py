"""What a worker does before the first step and after the last, without a place around it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import torch

from aigc.data.importers import Options, import_dataset
from aigc.models.artifact import load_model
from aigc.models.attention import AttentionConfig
from aigc.training.config import TrainingConfig
from aigc.training.world import World
from cluster.errors import CodeDiffers
from cluster.journal import JournalReader
from cluster.system import SYSTEM
from cluster.training import SHEET_RECORDS, TrainingRequest, train_worker
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


def test_a_picture_of_texts_is_kept_and_the_texts_beside_it(
    workspace: Workspace, dataset: str, tmp_path: Path
) -> None:
    asked = request(workspace, dataset, tmp_path / "run", "bytes")
    train_worker(asked, World())

    assert sorted(path.name for path in asked.run.samples.iterdir()) == [
        "step-00000000.png",
        "step-00000000.txt",
        "step-00000006.png",
        "step-00000006.txt",
    ]
    first, last = (path.read_text() for path in sorted(asked.run.samples.glob("*.txt")))
    assert first != last
    numbered = [line for line in last.splitlines() if re.fullmatch(r"--- \d+", line)]
    assert numbered == [f"--- {number}" for number in range(SHEET_RECORDS)]


def test_what_the_machine_does_is_in_the_journal_beside_the_losses(
    workspace: Workspace, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.system.SAMPLE_SECONDS", 0.001)
    asked = request(workspace, dataset, tmp_path / "run", "bytes")
    train_worker(asked, World())
    entries = [entry for entry in JournalReader(asked.run.journal).new() if "figures" in entry]

    assert [entry["step"] for entry in entries] == [3, 6]
    named = [name for entry in entries for name in entry["figures"] if name.startswith(SYSTEM)]
    assert {"system/cpu_utilization_percentage", "system/disk_available_megabytes"} <= set(named)


def test_a_worker_keeps_a_log_of_its_attempts(
    workspace: Workspace, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.training.LOG_SECONDS", 0.0)
    asked = request(workspace, dataset, tmp_path / "run", "bytes")
    train_worker(asked, World())
    shutil.rmtree(asked.run.checkpoints / "step-00000006")
    train_worker(asked, World())
    (file,) = asked.run.logs.iterdir()
    said = [line.split(" cluster.training: ")[1] for line in file.read_text().splitlines()]

    assert file.name == "worker-0.log"
    words = [
        "worker 0 of 1 on cpu",
        "step 3: ",
        "step 6: ",
        "worker 0 of 1",
        "going on",
        "step 6: ",
    ]
    assert [line.startswith(word) for line, word in zip(said, words, strict=True)] == [True] * 6
    assert "tokens/loss" in said[1]


def test_a_log_says_why_a_worker_failed(workspace: Workspace, dataset: str, tmp_path: Path) -> None:
    asked = dataclasses.replace(
        request(workspace, dataset, tmp_path / "run", "bytes"), code="other"
    )
    with pytest.raises(CodeDiffers):
        train_worker(asked, World())
    said = (asked.run.logs / "worker-0.log").read_text()

    assert re.search(r"ERROR worker-0 \S+ failed: this process runs code", said)
    assert "Traceback (most recent call last)" in said
