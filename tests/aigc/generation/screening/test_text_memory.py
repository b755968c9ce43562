from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aigc.generation.screening import Memory, copied_spans
from aigc.layout import Layout

LENGTH = 80
TEXTS = Layout(modality="text", shape=(LENGTH,))
WORDS = """
king queen crown castle river forest winter summer soldier letter garden window mirror candle
bridge market harbour island thunder silver copper velvet shadow morning evening brother sister
stranger teacher farmer sailor painter
""".split()  # noqa: SIM905  # One a line would be a page.


def written(*texts: str) -> Tensor:
    rows = [np.frombuffer(text.encode().ljust(LENGTH, b"\0"), np.uint8) for text in texts]
    return torch.from_numpy(np.stack(rows))


def sentences(seed: int, count: int) -> list[str]:
    """Words in random order, about 70 characters."""
    draws = np.random.default_rng(seed)
    return [" ".join(draws.choice(WORDS, 10))[:70] for _ in range(count)]


TRAINING = sentences(1, 300)


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory.of(written(*TRAINING), TEXTS)


def test_copied_texts_are_caught_and_named(memory: Memory) -> None:
    found = memory.nearest(written(*TRAINING))

    assert found.copied.all()
    assert found.index.tolist() == list(range(300))
    assert found.distance.tolist() == [0.0] * 300


def test_a_text_of_which_most_is_copied_is_a_copy(memory: Memory) -> None:
    mixed = [
        f"{fresh[:20]}{old[10:60]}" for fresh, old in zip(sentences(2, 300), TRAINING, strict=True)
    ]
    found = memory.nearest(written(*mixed))

    assert found.copied.all()
    assert found.index.tolist() == list(range(300))


def test_new_texts_of_the_same_words_are_no_copies(memory: Memory) -> None:
    found = memory.nearest(written(*sentences(3, 500)))

    assert found.copied.float().mean() <= 0.01
    assert found.distance.min() > 0


def test_two_halves_of_two_records_are_not_one_span(memory: Memory) -> None:
    joined = TRAINING[0][:35] + TRAINING[1][:35]
    spans = copied_spans(joined, memory)

    assert (0, 35) in spans or (0, 70) in spans
    assert memory.records.look(written(joined)[0].numpy())[2] < 0.6


def test_spans_are_characters_of_the_text(memory: Memory) -> None:
    text = f"«¿é» {TRAINING[7][:50]} — and so on"
    start, stop = copied_spans(text, memory)[0]

    assert text[start:stop].strip() == TRAINING[7][:50].strip()
    assert copied_spans("Nothing of this was ever written before, not even that.", memory) == []
    assert copied_spans("", memory) == []


def test_short_and_empty_texts_have_an_answer(memory: Memory) -> None:
    found = memory.nearest(written("", "king", "zzzzzzzzzzzz"))

    assert not found.copied.any()
    assert found.distance.tolist() == [1.0, 1.0, 1.0]


def test_what_is_said_does_not_depend_on_the_samples_beside_it(memory: Memory) -> None:
    samples = written(*sentences(4, 20))
    whole = memory.nearest(samples)
    one_by_one = [memory.nearest(each) for each in samples.split(1)]

    assert torch.equal(whole.index, torch.cat([each.index for each in one_by_one]))
    assert torch.equal(whole.distance, torch.cat([each.distance for each in one_by_one]))


def test_survives_being_saved(memory: Memory, tmp_path: Path) -> None:
    digest = memory.save(tmp_path / "memory")
    again = Memory.load(tmp_path / "memory")

    assert again.records.plain() == memory.records.plain()
    assert again.save(tmp_path / "again") == digest
    assert copied_spans(TRAINING[3], again) == [(0, len(TRAINING[3]))]


def test_no_samples_are_no_answer(memory: Memory) -> None:
    found = memory.nearest(torch.empty(0, LENGTH, dtype=torch.uint8))

    assert [len(each) for each in vars(found).values()] == [0, 0, 0]
