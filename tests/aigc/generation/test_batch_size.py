"""On a GPU as many samples are made at once as memory holds and speed is gained by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from aigc.generation import sampling
from aigc.generation.batch_size import largest, samples_at_once
from aigc.generation.plan import BATCH
from aigc.generation.sampling import make_samples
from aigc.layout import Layout
from aigc.models import build
from aigc.models.gan import GANConfig

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))


class Timed(torch.nn.Module):
    """A model on a device on which so many samples fit, and so many a second are made at most.

    Its own clock tells how long it took: a tenth of a second for each call, and its share.
    """

    layout, noise_size = LAYOUT, 2

    def __init__(self, room: int, speed: float = float("inf")) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.room, self.speed, self.now, self.asked = room, speed, 0.0, list[int]()

    def sample(self, noise: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        self.asked.append(len(noise))
        if len(noise) > self.room:
            raise torch.OutOfMemoryError("there is no more")
        self.now += 0.1 + len(noise) / self.speed
        return noise[:, :1, None, None].tanh().expand(-1, 1, 8, 8).clone()

    def clock(self) -> float:
        return self.now


def at_once(model: Timed, most: int = 100 * BATCH) -> int:
    return samples_at_once(model, "cuda", most, model.clock)  # type: ignore[arg-type]


def test_processors_make_whole_batches_of_the_same_size_always() -> None:
    model = Timed(10**6)
    assert samples_at_once(model, "cpu", 10**6, model.clock) == BATCH  # type: ignore[arg-type]
    assert model.asked == []


@pytest.mark.parametrize(
    ("room", "expected"), [(10**9, 64), (17 * BATCH, 16), (BATCH, 1), (BATCH - 1, 1), (0, 1)]
)
def test_the_batch_grows_until_memory_runs_out(room: int, expected: int) -> None:
    assert at_once(Timed(room)) == expected * BATCH


def test_the_batch_grows_no_further_than_it_pays() -> None:
    # Of 1,000 a second at most, a call of 500 makes 833 and one of 1,000 makes 909: a tenth more
    # is gained by the former only.
    assert at_once(Timed(10**9, speed=1000)) == 2 * BATCH


def test_it_is_measured_once_for_a_model() -> None:
    model = Timed(10**9)
    assert at_once(model, most=4 * BATCH) == 4 * BATCH
    asked = len(model.asked)
    assert [at_once(model, most=count * BATCH) for count in (4, 3, 1)] == [1000, 750, 250]
    assert len(model.asked) == asked


def test_each_size_is_asked_once() -> None:
    rates: Iterator[float] = iter([1.0, 2.0, 2.1])
    assert largest(lambda count: next(rates), 10**9) == 2 * BATCH


def test_samples_are_the_same_in_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, joined = Timed(10**9), Timed(10**9)
    asked = [*range(3 * BATCH + 20), 7]
    seeds = np.array(asked)
    wanted = make_samples(whole, asked, seeds, seeds % 10)  # type: ignore[arg-type]
    monkeypatch.setattr(sampling, "samples_at_once", lambda *_: 2 * BATCH)
    found = make_samples(joined, asked, seeds, seeds % 10)  # type: ignore[arg-type]

    assert torch.equal(found.stored, wanted.stored)
    assert torch.equal(found.labels, wanted.labels)  # type: ignore[arg-type]
    assert (whole.asked, joined.asked) == ([BATCH] * 5, [2 * BATCH] * 2 + [BATCH])


@pytest.mark.gpu
def test_a_gpu_makes_more_at_once_and_nearly_the_same() -> None:
    model = build(GANConfig(latent_size=8, width=8), LAYOUT, seed=1).eval()
    seeds = np.arange(8 * BATCH)
    wanted = make_samples(model, range(8 * BATCH), seeds, seeds % 10)
    model.to("cuda")
    found = make_samples(model, range(8 * BATCH), seeds, seeds % 10)

    assert samples_at_once(model, "cuda", 8 * BATCH) > BATCH
    difference = (found.stored.int() - wanted.stored.int()).abs()
    assert difference.max() <= 2
