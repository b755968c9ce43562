"""Generative adversarial networks (Goodfellow et al. 2014): one game, four recipes.

"hinge"         convolutions; the hinge loss with spectral normalisation of D (Miyato et al. 2018),
                a projection discriminator (Miyato & Koyama 2018) when there are labels, and a
                moving average of G.
"article"       the founding article's two perceptrons and its losses L_G and L_D, unconditional.
"wgan-gp"       the same convolutions without spectral normalisation; a Wasserstein critic with its
                gradient penalty, several steps of it for one of G (Gulrajani et al. 2017).
"relativistic"  residual networks without normalisation; softplus of pairs' differences, with R1 on
                reals and R2 on fakes, taken lazily (R3GAN, Huang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aigc.layout import Layout
from aigc.models import adversaries, losses
from aigc.models.augmentation import augmented
from aigc.models.contract import Batch, Losses, Model, Phase
from aigc.models.gan_config import GANConfig as GANConfig
from aigc.seeding import Draws


class Recipe(NamedTuple):
    """The two networks of a game and its losses.

    `relative`: only differences of logits mean anything: G's loss then takes (real, fake) logits
    if `paired`, and D is right about a pair, not about a record. `penalty`: "interpolated" between
    reals and fakes, in D's loss; or "zero-centred" on both, in a phase of its own.
    """

    generator: Callable[[GANConfig, Layout], nn.Module]
    discriminator: Callable[[GANConfig, Layout], nn.Module]
    generator_loss: Callable[..., Tensor]
    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    conditional: bool = True
    relative: bool = False
    paired: bool = False
    penalty: str = ""


RECIPES = {
    "hinge": Recipe(
        adversaries.conv_generator,
        adversaries.bounded_discriminator,
        losses.generator_hinge,
        losses.discriminator_hinge,
    ),
    "article": Recipe(
        adversaries.ArticleGenerator,
        adversaries.ArticleDiscriminator,
        losses.generator_loss,
        losses.discriminator_loss,
        conditional=False,
    ),
    "wgan-gp": Recipe(
        adversaries.conv_generator,
        adversaries.conv_discriminator,
        losses.generator_wasserstein,
        losses.discriminator_wasserstein,
        relative=True,
        penalty="interpolated",
    ),
    "relativistic": Recipe(
        adversaries.residual_generator,
        adversaries.residual_discriminator,
        losses.generator_relativistic,
        losses.discriminator_relativistic,
        relative=True,
        paired=True,
        penalty="zero-centred",
    ),
}


class GAN(Model):
    """A generator and a discriminator, each with a phase of its own.

    An unconditional recipe drops the label names from its `layout`: it cannot say which class a
    sample belongs to.
    """

    def __init__(self, config: GANConfig, layout: Layout) -> None:
        self.recipe = RECIPES[config.recipe]
        if not self.recipe.conditional:
            layout = layout.model_copy(update={"labels": ()})
        super().__init__(layout)
        self.config = config
        self.noise_size = config.latent_size
        self.average_decay = config.average_decay
        self.generator = self.recipe.generator(config, layout)
        self.discriminator = self.recipe.discriminator(config, layout)

    def phases(self) -> Sequence[Phase]:
        """D first, on this step's fakes; its lazy penalty; then G, against the D that has moved."""
        phases = [
            Phase(
                "discriminator",
                list(self.discriminator.parameters()),
                self._discriminator_loss,
                self.config.discriminator,
            ),
            Phase(
                "generator",
                list(self.generator.parameters()),
                self._generator_loss,
                self.config.generator,
                every=self.config.critic_steps,
            ),
        ]
        if self.recipe.penalty == "zero-centred":
            phases.insert(1, self._penalty_phase())
        return phases

    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        samples: Tensor = self.generator(noise, labels)
        return samples

    def compilable(self) -> Iterable[nn.Module]:
        """A penalty differentiates D twice, which torch.compile does not do."""
        return [self.generator] if self.recipe.penalty else [self.generator, self.discriminator]

    def averaged(self) -> nn.Module:
        return self.generator

    def _fakes(self, batch: Batch, draws: Draws) -> Tensor:
        """As many samples as the batch has records, with its labels."""
        noise = draws.normal(len(batch.records), self.noise_size)
        return self.sample(noise.to(batch.records.device), batch.labels)

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        """The images as D sees them. Reals and fakes apart: each has rows of its own to draw."""
        return augmented(images, draws) if self.config.augment else images

    def _discriminator_loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        with torch.no_grad():
            fakes = self._seen(self._fakes(batch, draws), draws)
        reals = self._seen(batch.records, draws)
        labels = None if batch.labels is None else torch.cat([batch.labels, batch.labels])
        logits = self.discriminator(torch.cat([reals, fakes]), labels)
        real_logits, fake_logits = logits.chunk(2)
        found = {"loss": self.recipe.discriminator_loss(real_logits, fake_logits)}
        if self.recipe.penalty == "interpolated":
            penalty = self._interpolated_penalty(reals, fakes, batch.labels, draws)
            found["loss"] = found["loss"] + self.config.penalty_weight * penalty
            found["gradient_penalty"] = penalty.detach()
        return found | accuracies(real_logits.detach(), fake_logits.detach(), self.recipe.relative)

    def _generator_loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        fakes = self._fakes(batch, draws)
        fake_logits = self.discriminator(self._seen(fakes, draws), batch.labels)
        if self.recipe.paired:
            with torch.no_grad():
                real_logits = self.discriminator(self._seen(batch.records, draws), batch.labels)
            loss = self.recipe.generator_loss(real_logits, fake_logits)
        else:
            loss = self.recipe.generator_loss(fake_logits)
        if self.config.pixel_weight:
            loss = loss + self.config.pixel_weight * losses.pixel_loss(batch.records, fakes)
        return {"loss": loss}

    def _interpolated_penalty(
        self, reals: Tensor, fakes: Tensor, labels: Tensor | None, draws: Draws
    ) -> Tensor:
        """The gradient penalty at x̂ = ε x + (1 − ε) G(z), one ε a record."""
        share = draws.uniform(len(reals), *[1] * (reals.dim() - 1)).to(reals.device)
        between = torch.lerp(fakes, reals, share).requires_grad_()
        return losses.gradient_penalty(self.discriminator(between, labels), between)

    def _penalty_phase(self) -> Phase:
        return Phase(
            "penalty",
            list(self.discriminator.parameters()),
            self._zero_centred_penalties,
            self.config.discriminator,
            every=self.config.penalty_every,
            shares="discriminator",
        )

    def _zero_centred_penalties(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        """γ (R1 + R2), as many times as steps go by until the next (StyleGAN2, Karras 2020)."""
        with torch.no_grad():
            fakes = self._fakes(batch, draws)
        r1 = self._zero_centred(batch.records, batch.labels, draws)
        r2 = self._zero_centred(fakes, batch.labels, draws)
        weight = self.config.penalty_weight * self.config.penalty_every
        return {"loss": weight * (r1 + r2), "r1": r1.detach(), "r2": r2.detach()}

    def _zero_centred(self, images: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        images = self._seen(images, draws).detach().requires_grad_()
        return losses.zero_centred_penalty(self.discriminator(images, labels), images)


def accuracies(real_logits: Tensor, fake_logits: Tensor, relative: bool) -> Losses:
    """How often D is right: about reals and fakes, or, if only differences count, about pairs."""
    if relative:
        return {"accuracy_pairs": (real_logits > fake_logits).float().mean()}
    return {
        "accuracy_real": (real_logits > 0).float().mean(),
        "accuracy_fake": (fake_logits < 0).float().mean(),
    }
