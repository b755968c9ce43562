from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aigc.metrics import distances
from aigc.metrics.coverage import coverage, density, precision, recall


def line(*positions: float) -> Tensor:
    return torch.tensor(positions)[:, None]


def noise(seed: int, rows: int, size: int = 8) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


HELD_OUT = line(0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25)
"""Two groups of six. The fifth neighbour of 0 is 5, of 1 it is 5, of 2 it is 5 …: the radii are
5, 4, 3, 3, 4, 5 in each group, and no ball reaches the other group."""


def test_samples_in_one_of_two_groups_cover_that_half() -> None:
    generated = line(2.4, 2.4, 2.5, 2.5, 2.6, 2.6)
    assert coverage(generated, HELD_OUT) == 0.5
    assert precision(generated, HELD_OUT) == 1.0
    assert density(generated, HELD_OUT) == pytest.approx(6 * 6 / (5 * 6))


def test_density_counts_the_balls_and_precision_only_whether_there_is_one() -> None:
    # −4.5 lies in the ball of 0 (5) alone; −2.5 in those of 0 (5) and 1 (4); 12 in none.
    generated = line(-4.5, -2.5, 12)
    assert density(generated, HELD_OUT) == pytest.approx((1 + 2 + 0) / (5 * 3))
    assert precision(generated, HELD_OUT) == pytest.approx(2 / 3)
    assert coverage(generated, HELD_OUT) == pytest.approx(2 / 12)


def test_recall_draws_the_balls_around_the_samples() -> None:
    # Radii 5, 4, 3, 3, 4, 5 around 3 … 8: together the open interval from −2 to 13.
    generated = line(3, 4, 5, 6, 7, 8)
    assert recall(generated, HELD_OUT) == 0.5
    # Radii a fifth of that reach from 2.0 to 5.0, both outside.
    assert recall((generated - 3) / 5 + 3, HELD_OUT) == pytest.approx(2 / 12)


def test_a_record_on_the_rim_is_outside() -> None:
    assert precision(line(-5), HELD_OUT) == 0.0
    assert precision(line(-4.999), HELD_OUT) == 1.0


def test_equal_sets_score_one_everywhere() -> None:
    x = noise(1, 400, 64) * 3 + 1
    figures = [metric(x, x.clone()) for metric in (coverage, recall, precision, density)]
    assert figures == [1.0, 1.0, 1.0, 1.0]


def test_a_collapsed_model_has_full_precision_and_next_to_no_coverage() -> None:
    held_out = noise(1, 500)
    collapsed = held_out[:1].expand(200, -1)
    assert precision(collapsed, held_out) == 1.0
    assert coverage(collapsed, held_out) < 0.05
    assert recall(collapsed, held_out) == 0.0


def test_a_fresh_draw_from_the_same_distribution_scores_well() -> None:
    generated, held_out = noise(1, 1000), noise(2, 1000)
    # Of two equal draws, coverage is expected at 1 − ½⁵.
    assert coverage(generated, held_out) == pytest.approx(1 - 0.5**5, abs=0.03)
    assert density(generated, held_out) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("metric", [coverage, recall, precision, density])
def test_is_the_same_in_small_chunks_and_in_any_order(
    metric: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated, held_out = noise(1, 90), noise(2, 130) + 0.3
    whole = metric(generated, held_out)
    monkeypatch.setattr(distances, "PAIRS_AT_ONCE", 500)
    assert metric(generated.flip(0), held_out.flip(0)) == whole
    assert 0 < whole < 1.5
