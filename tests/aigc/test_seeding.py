"""Randomness is a function of seed, purpose and position; a golden value holds each of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.seeding import Draws, derive_many, generator, sample_noise
from aigc.seeds import derive

SEED = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((0,), 3456079177858693020),
        ((7, "sample", 0), 6936564258620959988),
        ((7, "sample", 1), 1721248415592618057),
        (("step", 12, "ü"), 2605603509051270840),
    ],
)
def test_a_derived_seed_never_changes(parts: tuple[int | str, ...], expected: int) -> None:
    assert derive(*parts) == expected


@given(SEED, SEED)
def test_a_derived_seed_depends_on_the_order_and_fits_in_63_bits(one: int, two: int) -> None:
    assert 0 <= derive(one, two) < 2**63
    assert (derive(one, two) == derive(two, one)) == (one == two)


def test_parts_do_not_run_together() -> None:
    assert len({derive(1, 23), derive(12, 3), derive(123), derive("1", "2", "3")}) == 4


def test_a_generator_draws_the_golden_numbers() -> None:
    drawn = torch.randn(3, generator=generator(5, "weights"))

    torch.testing.assert_close(drawn, torch.tensor([0.60879, 0.328032, 0.604224]))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_workers_share_out_the_draws_of_one(size: int) -> None:
    rows = 12 // size
    one = Draws(3, step=7)
    many = [Draws(3, step=7, rank=rank, size=size) for rank in range(size)]

    for _ in range(2):
        assert torch.equal(one.normal(12, 2, 3), torch.cat([d.normal(rows, 2, 3) for d in many]))
        assert torch.equal(one.uniform(12), torch.cat([d.uniform(rows) for d in many]))
        assert torch.equal(one.integers(12, 10), torch.cat([d.integers(rows, 10) for d in many]))


def test_another_step_or_seed_draws_other_numbers() -> None:
    drawn = [Draws(seed, step).normal(4) for seed, step in ((0, 0), (0, 1), (1, 0))]

    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_draws_are_of_the_kind_they_say() -> None:
    draws = Draws(0, 0)
    integers, uniform, normal = draws.integers(4000, 3), draws.uniform(4000), draws.normal(4000)

    assert integers.unique().tolist() == [0, 1, 2]
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.1


@given(st.lists(SEED, min_size=1, max_size=6), st.integers(1, 9))
def test_a_row_of_noise_depends_on_its_own_seed_alone(seeds: list[int], size: int) -> None:
    noise = sample_noise(seeds, size)

    assert noise.shape == (len(seeds), size)
    for row, seed in enumerate(seeds):
        assert torch.equal(noise[row], sample_noise([seed], size)[0])


def test_many_derived_seeds_never_change() -> None:
    """Half of the numbers that are published with SplitMix64 for the seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]

    assert derive_many(1234567, range(3)).tolist() == [number // 2 for number in published]
    assert derive_many(1234567, [2, 0]).tolist() == [published[2] // 2, published[0] // 2]


def test_noise_is_standard_normal_in_every_column_and_between_them() -> None:
    noise = sample_noise(derive_many(5, range(20_000)), 7).double()

    assert noise.mean(0).abs().max() < 0.04
    assert (noise.std(0) - 1).abs().max() < 0.03
    assert ((noise**4).mean(0) - 3).abs().max() < 0.3
    assert torch.corrcoef(noise.T).fill_diagonal_(0).abs().max() < 0.04
    assert torch.corrcoef((noise**2).T).fill_diagonal_(0).abs().max() < 0.04


def test_noise_is_the_golden_one() -> None:
    expected = torch.tensor([[-0.7957, 2.7407, 1.1184]])
    torch.testing.assert_close(sample_noise([7], 3), expected, atol=1e-4, rtol=0)


def test_noise_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    sample_noise([1, 2], 3)
    Draws(0, 0).normal(2)

    assert torch.equal(before, torch.random.get_rng_state())
