"""What a spec says of a GAN, and what each recipe says where the spec is silent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, model_validator

from aigc.config import Config
from aigc.models.contract import OptimizerConfig


class GANConfig(Config):
    """A recipe and what differs from it: a field that is not given has the recipe's value.

    `width`: channels of the first layer of D and the last of G, or the hidden units of a
    perceptron. `pixel_weight`: weight of L_G2 = ½‖x − G(z)‖² in the generator's loss.
    `critic_steps`: steps of D for one of G, each on a batch of its own. `penalty_weight`: λ of the
    gradient penalty, or γ of R1 and R2, which are taken every `penalty_every` steps. `attention`:
    self-attention at the coarsest resolution but one, in both networks. `augment`: D sees reals
    and fakes through DiffAugment.
    """

    family: Literal["gan"] = "gan"
    recipe: Literal["hinge", "article", "wgan-gp", "relativistic"] = "hinge"
    latent_size: int = Field(le=4096, default=64, ge=1)
    width: int = Field(le=1024, default=24, ge=8, multiple_of=8)
    generator: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, beta1=0.0, beta2=0.99)
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, beta1=0.0, beta2=0.99)
    average_decay: float | None = Field(default=0.998, gt=0, lt=1)
    pixel_weight: float = Field(default=0.0, ge=0)
    critic_steps: int = Field(default=1, ge=1)
    penalty_weight: float = Field(default=0.0, ge=0)
    penalty_every: int = Field(default=1, ge=1)
    attention: bool = False
    augment: bool = False

    @model_validator(mode="before")
    @classmethod
    def _follow_the_recipe(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {**DEFAULTS.get(str(given.get("recipe")), {}), **given}

    @model_validator(mode="after")
    def _has_a_use_for_each_field(self) -> GANConfig:
        if self.recipe in ("hinge", "article") and self.penalty_weight:
            raise ValueError(f"the recipe {self.recipe} has no gradient penalty: no penalty_weight")
        if self.recipe != "relativistic" and self.penalty_every != 1:
            raise ValueError(f"the recipe {self.recipe} has no lazy penalty: no penalty_every")
        if self.recipe == "article" and (self.attention or self.augment):
            raise ValueError("the article's perceptrons have neither attention nor augment")
        return self


DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        # The article's listing: z of 100, 128 hidden units, Adam(2e-4); batches of 64.
        "article": {
            "latent_size": 100,
            "width": 128,
            "generator": OptimizerConfig(),
            "discriminator": OptimizerConfig(),
            "average_decay": None,
        },
        # λ = 10, five critic steps and Adam's β as in Gulrajani et al. 2017, algorithm 1.
        "wgan-gp": {
            "generator": OptimizerConfig(learning_rate=1e-3, beta1=0.0, beta2=0.9),
            "discriminator": OptimizerConfig(learning_rate=1e-3, beta1=0.0, beta2=0.9),
            "critic_steps": 5,
            "penalty_weight": 10.0,
        },
        "relativistic": {
            "generator": OptimizerConfig(learning_rate=1e-3, beta1=0.0, beta2=0.99),
            "discriminator": OptimizerConfig(learning_rate=1e-3, beta1=0.0, beta2=0.99),
            "penalty_weight": 1.0,
            "penalty_every": 4,
        },
    }
)
"""What differs from the defaults of GANConfig, which are those of the recipe "hinge"."""
