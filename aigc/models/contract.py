"""What every model family promises to the training loop, to evaluation and to generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import Field
from torch import Tensor, nn

from aigc.config import Config
from aigc.data.batches import Batch as Batch
from aigc.layout import Layout
from aigc.seeding import Draws


class AdamConfig(Config):
    """Adam (Kingma & Ba 2015), with decoupled weight decay when it is not 0 (AdamW)."""

    learning_rate: float = Field(default=2e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


Losses = dict[str, Tensor]
"""Scalars by name. The one named "loss" is minimised; the others are reported beside it."""


@dataclass(frozen=True)
class Phase:
    """One loss with the parameters that it moves: a VAE has one phase, a GAN two or three.

    `loss(batch, draws, progress)` returns `Losses`, `progress` being the share of the training
    that is done, in [0, 1). The phase runs at every step that `every` divides.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch, Draws, float], Losses]
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    every: int = 1


class Model(nn.Module, ABC):
    """A network of one family, its losses, and how it makes samples.

    `noise_size`: standard normal numbers that one sample is made from; 0 for a model that makes
    none. `average_decay`: decay a step of the moving average of `averaged()`, whose weights are
    the ones that are judged and registered; None for none.
    """

    noise_size: int = 0
    average_decay: float | None = None

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The phases of one training step, in their order."""

    @abstractmethod
    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Samples in [−1, 1], (B, *layout.shape), from noise (B, noise_size) and labels (B,).

        A pure function of its arguments and the weights: no other randomness.
        """

    def averaged(self) -> nn.Module:
        """The part whose weights are averaged over the steps: what makes the samples."""
        return self

    def finish(self, batches: Iterable[Batch], seed: int) -> None:
        """Fit what is fitted once, after the last step, from one pass over the training data."""
        return None
