"""Each formula against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from aigc.models import losses


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_generator_loss_is_minus_log_d_of_g() -> None:
    fakes = column(logit(0.5), logit(0.25))
    expected = (math.log(2) + math.log(4)) / 2
    assert losses.generator_loss(fakes).item() == pytest.approx(expected)


def test_pixel_loss_is_half_the_squared_distance_of_a_record() -> None:
    records, generated = torch.zeros(2, 1, 1, 2), torch.tensor([[[[1.0, 2.0]]], [[[0.0, 1.0]]]])
    assert losses.pixel_loss(records, generated).item() == pytest.approx((5 / 2 + 1 / 2) / 2)


def test_discriminator_loss_is_the_sum_of_both_halves() -> None:
    real, fake = column(logit(0.8)), column(logit(0.1))
    expected = -math.log(0.8) - math.log(1 - 0.1)
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(expected)


@pytest.mark.parametrize("value", [-9.0, -2.0, 0.0, 0.7, 9.0])
def test_losses_of_logits_equal_losses_of_probabilities(value: float) -> None:
    verdict = column(value)
    one, zero = torch.ones_like(verdict), torch.zeros_like(verdict)
    of_probabilities = functional.binary_cross_entropy(torch.sigmoid(verdict), one)
    torch.testing.assert_close(losses.generator_loss(verdict), of_probabilities)
    both = of_probabilities + functional.binary_cross_entropy(torch.sigmoid(verdict), zero)
    torch.testing.assert_close(losses.discriminator_loss(verdict, verdict), both)


def test_a_sigmoid_before_the_loss_caps_what_the_discriminator_can_learn() -> None:
    """The article's listing ends D with a sigmoid and tells the loss to expect logits."""
    perfect_real, perfect_fake = column(50.0), column(-50.0)
    assert losses.discriminator_loss(perfect_real, perfect_fake).item() < 1e-20
    listing = losses.discriminator_loss(torch.sigmoid(perfect_real), torch.sigmoid(perfect_fake))
    assert listing.item() == pytest.approx(math.log(1 + math.exp(-1)) + math.log(2))
    assert listing.item() == pytest.approx(1.006, abs=5e-4)


def test_hinge_losses_stop_at_the_margin_for_d_and_never_for_g() -> None:
    assert losses.discriminator_hinge(column(2.0, 0.5), column(-3.0, 1.0)).item() == 0.25 + 1.0
    assert losses.generator_hinge(column(2.0, 4.0)).item() == -3.0


def test_wasserstein_losses_are_differences_of_means() -> None:
    real, fake = column(3.0, 1.0), column(-1.0, 0.0)
    assert losses.discriminator_wasserstein(real, fake).item() == -0.5 - 2.0
    assert losses.generator_wasserstein(fake).item() == 0.5


def test_relativistic_losses_are_softplus_of_each_pairs_difference() -> None:
    real, fake = column(1.0, 0.0), column(0.0, 2.0)
    expected_d = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    expected_g = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 2
    assert losses.discriminator_relativistic(real, fake).item() == pytest.approx(expected_d)
    assert losses.generator_relativistic(real, fake).item() == pytest.approx(expected_g)


def test_penalties_of_a_linear_critic_are_known() -> None:
    weight = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64)
    images = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    logits = images @ weight + 7
    assert losses.gradient_penalty(logits, images).item() == pytest.approx((3 - 1) ** 2)
    assert losses.zero_centred_penalty(logits, images).item() == pytest.approx(9 / 2)


def test_penalties_are_means_over_the_records_slopes() -> None:
    """D(x) = |x|² has the slope 2 |x|, which differs from record to record."""
    images = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    logits = images.square().sum((1, 2))
    assert losses.gradient_penalty(logits, images).item() == ((2 - 1) ** 2 + (4 - 1) ** 2) / 2
    assert losses.zero_centred_penalty(logits, images).item() == (4 / 2 + 16 / 2) / 2


def test_penalties_can_be_descended() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    images = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    penalty = losses.gradient_penalty(images @ weight, images)
    (slope,) = torch.autograd.grad(penalty, weight)
    # d(‖w‖ − 1)² = 2 (‖w‖ − 1) w / ‖w‖
    torch.testing.assert_close(slope, 2 * (5 - 1) * weight.detach() / 5)
    centred = losses.zero_centred_penalty(images @ weight, images)
    torch.testing.assert_close(torch.autograd.grad(centred, weight)[0], weight.detach())


def test_kl_of_the_prior_is_zero_and_of_a_shifted_gaussian_is_known() -> None:
    mean, log_variance = column(0, 0, 1, 2).reshape(2, 2), torch.zeros(2, 2)
    assert losses.gaussian_kl(mean, log_variance).tolist() == [0.0, 2.5]
    doubled = losses.gaussian_kl(column(0).reshape(1, 1), column(math.log(4)).reshape(1, 1))
    assert doubled.item() == pytest.approx(0.5 * (4 - 1 - math.log(4)))


def test_kl_agrees_with_torch_distributions() -> None:
    mean, log_variance = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), column(0.3)
    log_variance = log_variance.expand(3, 5).float()
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(3, 5), torch.ones(3, 5))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(losses.gaussian_kl(mean, log_variance), expected)


def test_free_bits_are_the_least_that_a_dimension_of_a_record_counts() -> None:
    mean, log_variance = column(0, 2, 1, 0).reshape(2, 2), torch.zeros(2, 2)
    assert losses.gaussian_kl(mean, log_variance, 0.6).tolist() == [0.6 + 2.0, 0.6 + 0.6]


def linear_gaussian(draws: int) -> tuple[Tensor, Tensor]:
    """Log-weights (draws, 3) and the exact log p(x), (3,), of x = Wz + noise with a wrong q."""
    source = torch.Generator().manual_seed(0)
    weight = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.1]], dtype=torch.float64)
    records = 2 * torch.randn(3, 3, generator=source, dtype=torch.float64)
    precision = torch.eye(2).double() + weight.T @ weight
    mean = records @ weight @ precision.inverse() + 0.2
    log_variance = torch.full_like(mean, -0.4)
    weights = []
    for _ in range(draws):
        noise = torch.randn(3, 2, generator=source, dtype=torch.float64)
        latents = mean + noise * (log_variance / 2).exp()
        nats = losses.gaussian_reconstruction(latents @ weight.T, records)
        weights.append(losses.log_prior_ratio(latents, noise, log_variance) - nats)
    covariance = torch.eye(3).double() + weight @ weight.T
    exact = torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance)
    return torch.stack(weights), exact.log_prob(records)


def test_the_importance_weighted_bound_comes_to_the_likelihood() -> None:
    weights, exact = linear_gaussian(20_000)
    torch.testing.assert_close(losses.importance_weighted(weights), exact, atol=0.02, rtol=0)


def test_more_draws_make_the_bound_tighter() -> None:
    weights, exact = linear_gaussian(4000)
    bounds = [
        torch.stack([losses.importance_weighted(part) for part in weights.split(count)]).mean(0)
        for count in (1, 4, 16)
    ]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()
    assert (bounds[1] < exact).all()


def test_bernoulli_reconstruction_sums_the_pixels_of_a_record() -> None:
    logits = column(logit(0.9), logit(0.2), 0.0, 0.0).reshape(2, 1, 1, 2)
    pixels = column(1, 0, 1, 0.5).reshape(2, 1, 1, 2)
    expected = [-math.log(0.9) - math.log(0.8), 2 * math.log(2)]
    assert losses.bernoulli_reconstruction(logits, pixels).tolist() == pytest.approx(expected)


def test_gaussian_reconstruction_is_a_log_density() -> None:
    x, guess = column(1, -1, 0).reshape(1, 3), column(0, -1, 2).reshape(1, 3)
    expected = (1 + 0 + 4) / 2 + 3 / 2 * math.log(2 * math.pi)
    assert losses.gaussian_reconstruction(guess, x).item() == pytest.approx(expected)


def test_lambda_weighs_the_reconstruction_against_the_kl() -> None:
    assert losses.variational_loss(column(1, 3), column(10, 20), 0.5).item() == 2 + 0.5 * 15
