"""What another version of this program has remembered is refused, and what to do is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aigc.errors import ArtifactCorrupt
from aigc.generation.screening import Memory
from aigc.generation.screening.memory import FORMAT
from aigc.layout import Layout
from aigc.seeding import generator
from aigc.training.tensors import read_tensors, write_tensors

STORED = {
    "image": torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
    "text": torch.zeros(4, 16, dtype=torch.uint8),
}


@pytest.mark.parametrize("modality", STORED)
def test_a_memory_that_lacks_what_is_needed_now_is_refused(modality: str, tmp_path: Path) -> None:
    stored = STORED[modality]
    layout = Layout(modality=modality, shape=tuple(stored.shape[1:]))
    plain = {"format": FORMAT, "layout": layout.model_dump(mode="json")}
    write_tensors(tmp_path / "memory", {"stored": stored}, plain)
    with pytest.raises(ArtifactCorrupt, match="was written by another version") as error:
        Memory.load(tmp_path / "memory")
    assert str(tmp_path / "memory") in error.value.what
    assert error.value.next_step == "Remove it: it is made anew from the training data"


def test_a_memory_of_another_format_is_refused_though_nothing_is_missing(tmp_path: Path) -> None:
    stored = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=generator("old"))
    memory = Memory.of(stored, Layout(modality="image", shape=(1, 8, 8)))
    memory.save(tmp_path / "memory")
    tensors, plain, _ = read_tensors(tmp_path / "memory")
    write_tensors(tmp_path / "older", tensors, plain | {"format": 3})

    assert Memory.load(tmp_path / "memory").layout == memory.layout
    with pytest.raises(ArtifactCorrupt, match="its format is 3, not 4"):
        Memory.load(tmp_path / "older")


def test_a_memory_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    write_tensors(
        tmp_path / "memory",
        {"stored": STORED["text"]},
        {"format": FORMAT, "layout": {"shape": [16]}},
    )
    with pytest.raises(ArtifactCorrupt, match="was written by another version"):
        Memory.load(tmp_path / "memory")
