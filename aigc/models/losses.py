"""The losses, as the papers write them.

D(x) = sigmoid(logit): every adversarial loss takes the logit itself, never a probability, because
a sigmoid before a loss that expects logits caps D(x) at sigmoid(1) = 0.73, so that
−log D(x) − log(1 − D(G(z))) cannot fall below log(1 + e⁻¹) + log 2 = 1.006.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def generator_loss(fake_logits: Tensor) -> Tensor:
    """L_G1 = −log D(G(z)), the non-saturating loss of Goodfellow et al. 2014; a mean, in nats."""
    return functional.softplus(-fake_logits).mean()


def pixel_loss(records: Tensor, generated: Tensor) -> Tensor:
    """L_G2 = ½‖x − G(z)‖², summed over a record and averaged over the batch."""
    return 0.5 * (records - generated).square().flatten(1).sum(1).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """L_D = L_D1 + L_D2 = −log D(x) − log(1 − D(G(z))); means, in nats."""
    return functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()


def generator_hinge(fake_logits: Tensor) -> Tensor:
    """−D(G(z)), of the hinge game (Lim & Ye 2017, Miyato et al. 2018)."""
    return -fake_logits.mean()


def discriminator_hinge(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(0, 1 − D(x)) + max(0, 1 + D(G(z))), of the same game."""
    return functional.relu(1 - real_logits).mean() + functional.relu(1 + fake_logits).mean()


def generator_wasserstein(fake_logits: Tensor) -> Tensor:
    """−D(G(z)), of the Wasserstein game (Arjovsky et al. 2017)."""
    return -fake_logits.mean()


def discriminator_wasserstein(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """D(G(z)) − D(x), minus the distance that the critic estimates."""
    return fake_logits.mean() - real_logits.mean()


def generator_relativistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(−(D(G(z)) − D(x))), of pairs (Jolicoeur-Martineau 2018, Huang et al. 2024)."""
    return functional.softplus(real_logits - fake_logits).mean()


def discriminator_relativistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(−(D(x) − D(G(z)))), of the same pairs."""
    return functional.softplus(fake_logits - real_logits).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """(‖∇D(x)‖ − 1)², a mean over the records (WGAN-GP, Gulrajani et al. 2017).

    `logits` (B,) were computed from `images` (B, …), which require a gradient; so below.
    """
    norms: Tensor = _slopes(logits, images).norm(dim=1)
    return (norms - 1).square().mean()


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """½‖∇D(x)‖², a mean over the records: R1 on reals, R2 on fakes (Mescheder et al. 2018)."""
    return 0.5 * _slopes(logits, images).square().sum(1).mean()


def _slopes(logits: Tensor, images: Tensor) -> Tensor:
    """∇D(x) of each record, (B, n), to be differentiated once more."""
    # A record's logit depends on that record alone, so the gradient of the sum holds them all.
    (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return slopes.flatten(1)


def gaussian_kl(mean: Tensor, log_variance: Tensor, free_bits: float = 0.0) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² − 1 − log σ²), (B,), in nats.

    Each dimension of each record counts as `free_bits` nats at least (Kingma et al. 2016). The
    paper bounds the mean over the batch instead, which depends on how the batch is split.
    """
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return (nats.clamp(min=free_bits) if free_bits else nats).sum(1)


def log_prior_ratio(latents: Tensor, noise: Tensor, log_variance: Tensor) -> Tensor:
    """log N(z; 0, I) − log N(z; μ, σ²) where z = μ + σ · noise, (B,), in nats."""
    return 0.5 * (noise.square() + log_variance - latents.square()).sum(1)


def importance_weighted(log_weights: Tensor) -> Tensor:
    """log (1/k) Σ w, (B,), in nats, of log-weights log p(x, z) − log q(z|x), (k, B).

    A bound on log p(x) that k = 1 makes the ELBO and that rises with k (Burda et al. 2016).
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def bernoulli_reconstruction(logits: Tensor, intensities: Tensor) -> Tensor:
    """−log p(x|z) for pixels that are 1 with probability sigmoid(logit), (B,), in nats.

    `intensities` in [0, 1] may lie between the two: then it is the expectation over pixels that
    are drawn with those intensities.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, intensities, reduction="none")
    return losses.flatten(1).sum(1)


def gaussian_reconstruction(reconstructions: Tensor, records: Tensor) -> Tensor:
    """−log N(x; x̂, I) = ½‖x − x̂‖² + ½ d log 2π, (B,), in nats."""
    squares = (records - reconstructions).square().flatten(1)
    return 0.5 * squares.sum(1) + 0.5 * squares.shape[1] * math.log(2 * math.pi)


def variational_loss(kl: Tensor, reconstruction: Tensor, reconstruction_weight: float) -> Tensor:
    """L_VAE = L_E + λ L_D, averaged over the batch; λ = 1 gives the negative ELBO."""
    return (kl + reconstruction_weight * reconstruction).mean()
