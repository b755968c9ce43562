"""The variational autoencoder (Kingma & Welling 2014), with a mixture fitted on its latents.

What the encoder makes of the data never quite fills the prior N(0, I), and a decoder given codes
from the gaps makes blurs. A Gaussian mixture fitted after training on the codes of the training
data (ex-post density estimation, Ghosh et al. 2020) gives it codes that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from aigc.config import Config
from aigc.layout import Layout
from aigc.models import losses
from aigc.models.contract import Batch, Losses, Model, OptimizerConfig, Phase
from aigc.models.layers import ConvDecoder, ConvEncoder, with_classes
from aigc.seeding import Draws, generator

DRAWS = 200
"""Draws of the latents that a record's likelihood is estimated from."""


class VAEConfig(Config):
    """L = KL + λ · reconstruction, with `reconstruction_weight` for λ.

    The β of a β-VAE (Higgins et al. 2017) is 1/λ: the losses are the same up to their scale.

    `decoder`: what a pixel is drawn from. `binarise`: pixels are records of 0 and 1, drawn at
    every look with their intensities as probabilities (Salakhutdinov & Murray 2008), and
    likelihoods are those of the drawn records. `warm_up`: the share of the training over which the
    weight of the KL rises from 0 to 1. `free_bits`: nats of each latent dimension's KL that cost
    nothing more than having none. `mixture`: components of the Gaussian mixture that samples are
    drawn from, a class; 0 for the prior N(0, I).
    """

    family: Literal["vae"] = "vae"
    latent_size: int = Field(le=4096, default=32, ge=1)
    width: int = Field(le=1024, default=16, ge=8, multiple_of=8)
    decoder: Literal["bernoulli", "gaussian"] = "bernoulli"
    binarise: bool = False
    reconstruction_weight: float = Field(default=4.0, gt=0)
    warm_up: float = Field(default=0.1, ge=0, le=1)
    free_bits: float = Field(default=0.0, ge=0)
    mixture: int = Field(default=4, ge=0)
    average_decay: float | None = Field(default=0.998, gt=0, lt=1)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-3)

    @model_validator(mode="after")
    def _draws_bits_only(self) -> VAEConfig:
        if self.binarise and self.decoder != "bernoulli":
            raise ValueError("binarise needs the decoder bernoulli")
        return self


class LatentMixture(nn.Module):
    """A Gaussian mixture over the latents for each class, or one for all when there are none.

    Held in buffers whose shapes never change: (classes, components) weights, (…, latent) means
    and (…, latent, latent) Cholesky factors. Until it is fitted it is N(0, I).
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, classes: int, components: int, latent_size: int) -> None:
        super().__init__()
        shape = (max(classes, 1), components)
        self.register_buffer("weights", torch.full(shape, 1 / components))
        self.register_buffer("means", torch.zeros(*shape, latent_size))
        self.register_buffer("factors", torch.eye(latent_size).repeat(*shape, 1, 1))

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Latents (B, n) from normal noise (B, n + 1), whose last column picks the component."""
        rows = noise.new_zeros(len(noise), dtype=torch.int64) if labels is None else labels
        uniform = torch.special.ndtr(noise[:, -1:])
        passed = uniform > self.weights.cumsum(1)[rows]
        picked = passed.sum(1).clamp(max=self.weights.shape[1] - 1)
        spread = torch.einsum("bij,bj->bi", self.factors[rows, picked], noise[:, :-1])
        return self.means[rows, picked] + spread

    def fit(self, row: int, latents: Tensor, seed: int) -> None:
        """Fit the mixture of class `row` on its latents (N, n) by expectation maximisation.

        A class of less than two records keeps the prior.
        """
        if len(latents) < 2:
            return
        # A covariance that is fitted on fewer latents than dimensions only repeats them.
        components = max(1, min(self.weights.shape[1], len(latents) // latents.shape[1]))
        # It takes longer to import than torch, and every process imports this module.
        from sklearn.mixture import GaussianMixture

        fitted = GaussianMixture(components, reg_covar=1e-3, random_state=seed % 2**32)
        fitted.fit(latents.cpu().double().numpy())
        self.weights[row] = 0.0
        self.weights[row, :components] = torch.from_numpy(fitted.weights_)
        self.means[row, :components] = torch.from_numpy(fitted.means_)
        self.factors[row, :components] = torch.from_numpy(np.linalg.cholesky(fitted.covariances_))


class VAE(Model):
    """A convolutional encoder and decoder, conditional on the class when there are labels."""

    def __init__(self, config: VAEConfig, layout: Layout) -> None:
        super().__init__(layout)
        self.config = config
        self.average_decay = config.average_decay
        self.noise_size = config.latent_size + (1 if config.mixture else 0)
        self.encoder = ConvEncoder(layout, config.width)
        encoded_size = self.encoder.feature_size + layout.classes
        self.posterior = nn.Linear(encoded_size, 2 * config.latent_size)
        self.decoder = ConvDecoder(layout, config.latent_size + layout.classes, config.width)
        if config.mixture:
            self.mixture = LatentMixture(layout.classes, config.mixture, config.latent_size)

    def phases(self) -> Sequence[Phase]:
        return [Phase("autoencoder", list(self.parameters()), self._loss, self.config.optimizer)]

    def encode(self, records: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior q(z|x), each (B, latent_size)."""
        features = with_classes(self.encoder(records), labels, self.layout.classes)
        mean, log_variance = self.posterior(features).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Records in [−1, 1], (B, *shape): the mean of p(x|z)."""
        output = self._decoded(latents, labels)
        # 2 sigmoid(x) − 1 = tanh(x / 2): the probability of a pixel, scaled to [−1, 1].
        return torch.tanh(output / 2 if self.config.decoder == "bernoulli" else output)

    @torch.no_grad()
    def elbo(self, records: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        """The evidence lower bound of each record, (B,), in nats, from one draw of the latents.

        With λ = 1 and the KL at full weight, whatever the model was trained with. The Bernoulli
        decoder's likelihood is that of the records scaled to [0, 1], or of the drawn ones with
        `binarise`; the Gaussian's, of variance 1, that of the records in [−1, 1]: figures of
        different decoders cannot be compared.
        """
        seen = self._seen(records, draws)
        mean, log_variance = self.encode(seen, labels)
        latents, _ = _latents(mean, log_variance, draws)
        reconstruction = self._reconstruction(seen, labels, latents)
        return -(losses.gaussian_kl(mean, log_variance) + reconstruction)

    @torch.no_grad()
    def log_likelihood(
        self, records: Tensor, labels: Tensor | None, draws: Draws, count: int = DRAWS
    ) -> Tensor:
        """The importance-weighted bound on log p(x) from `count` draws, (B,), in nats.

        Of the same records as `elbo`. Decodes as many latents at a time as there are records.
        """
        seen = self._seen(records, draws)
        mean, log_variance = self.encode(seen, labels)
        weights = []
        for _ in range(count):
            latents, noise = _latents(mean, log_variance, draws)
            ratio = losses.log_prior_ratio(latents, noise, log_variance)
            weights.append(ratio - self._reconstruction(seen, labels, latents))
        return losses.importance_weighted(torch.stack(weights))

    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        latents = self.mixture(noise, labels) if self.config.mixture else noise
        return self.decode(latents, labels)

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch], seed: int) -> None:
        """Fit the mixture on one draw from the posterior of each training record."""
        if not self.config.mixture:
            return
        latents, rows = self._encoded(batches, seed)
        for row in sorted(set(rows.tolist())):
            self.mixture.fit(row, latents[rows == row], seed)

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        seen = self._seen(batch.records, draws)
        mean, log_variance = self.encode(seen, batch.labels)
        latents, _ = _latents(mean, log_variance, draws)
        reconstruction = self._reconstruction(seen, batch.labels, latents)
        counted = losses.gaussian_kl(mean, log_variance, self.config.free_bits)
        kl_weight = min(1.0, progress / self.config.warm_up) if self.config.warm_up else 1.0
        total = losses.variational_loss(
            kl_weight * counted, reconstruction, self.config.reconstruction_weight
        )
        return {
            "loss": total,
            "kl": losses.gaussian_kl(mean, log_variance).detach().mean(),
            "reconstruction": reconstruction.detach().mean(),
        }

    def _seen(self, records: Tensor, draws: Draws) -> Tensor:
        """The records, or their pixels drawn from {−1, 1}, (B, *shape)."""
        if not self.config.binarise:
            return records
        lit = draws.uniform(*records.shape).to(records.device) < (records + 1) / 2
        return 2 * lit.to(records.dtype) - 1

    def _reconstruction(self, records: Tensor, labels: Tensor | None, latents: Tensor) -> Tensor:
        """−log p(x|z) of each record, (B,), in nats."""
        output = self._decoded(latents, labels)
        if self.config.decoder == "bernoulli":
            return losses.bernoulli_reconstruction(output, (records + 1) / 2)
        return losses.gaussian_reconstruction(torch.tanh(output), records)

    def _decoded(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The decoder's output before its last nonlinearity, (B, *shape)."""
        output: Tensor = self.decoder(with_classes(latents, labels, self.layout.classes))
        return output

    def _encoded(self, batches: Iterable[Batch], seed: int) -> tuple[Tensor, Tensor]:
        """One draw of the latents of each record, (N, latent_size), and its mixture's row, (N,)."""
        source = generator(seed, "mixture")
        latents, rows = [], []
        for batch in batches:
            mean, log_variance = (part.cpu() for part in self.encode(*batch))
            noise = torch.randn(mean.shape, generator=source)
            latents.append(mean + noise * (0.5 * log_variance).exp())
            rows.append(torch.zeros(len(mean), dtype=torch.int64))
            if self.layout.classes and batch.labels is not None:
                rows[-1] = batch.labels.cpu()
        return torch.cat(latents), torch.cat(rows)


def _latents(mean: Tensor, log_variance: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """One draw of each record's latents from q(z|x), and the noise it is made of, (B, n) each."""
    noise = draws.normal(*mean.shape).to(mean.device)
    return mean + noise * (0.5 * log_variance).exp(), noise
