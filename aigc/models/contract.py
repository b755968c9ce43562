"""What every model family promises to the training loop, to evaluation and to generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from aigc.config import Config
from aigc.data.batches import Batch as Batch
from aigc.errors import ModelError
from aigc.layout import Layout
from aigc.seeding import Draws


class OptimizerConfig(Config):
    """What moves the parameters of a phase, and how its learning rate goes.

    "adamw" is Adam (Kingma & Ba 2015), with decoupled weight decay when it is not 0 (AdamW).
    "muon" orthogonalises the steps of the phase's hidden matrices (Jordan et al. 2024), scaled to
    the size of AdamW's steps so that one learning rate suits both (Liu et al. 2025); AdamW moves
    the rest.

    The rate rises over the share `warm_up` of the phase. From there on it is "constant", falls to 0
    along a "cosine", or stays until the last `decay` of the phase and falls along a line: "wsd",
    warm-up, stable, decay (Hu et al. 2024). `clip_norm` bounds the norm of all gradients of the
    phase together.
    """

    algorithm: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=2e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    warm_up: float = Field(default=0.0, ge=0, lt=1)
    decay: float = Field(default=0.2, gt=0, le=1)
    clip_norm: float | None = Field(default=None, gt=0)


Losses = dict[str, Tensor]
"""Scalars by name. The one named "loss" is minimised; the others are reported beside it."""


@dataclass(frozen=True)
class Phase:
    """One loss with the parameters that it moves: a VAE has one phase, a GAN two or three.

    `loss(batch, draws, progress)` returns `Losses`, `progress` being the share of the phase that
    is done, in [0, 1), and a mean over the records: the gradients of several parts of a batch are
    averaged. The phase runs from the share `begins` of the training to the share `ends`, at every
    step that `every` divides. `matrices` are the hidden weights that Muon may move; embeddings and
    the last layer are none of them.
    `shares` names an earlier phase of the same parameters whose optimizer this one uses: a penalty
    with an Adam of its own would be rescaled by it, and its weight would mean nothing.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch, Draws, float], Losses]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    every: int = 1
    matrices: Sequence[nn.Parameter] = ()
    shares: str | None = None
    begins: float = 0.0
    ends: float = 1.0

    def span(self, steps: int) -> range:
        """Of a training of so many steps, those between the phase's beginning and its end.

        Whole steps, so that what one phase ends before is where the next one begins.
        """
        return range(round(self.begins * steps), round(self.ends * steps))


class Model(nn.Module, ABC):
    """A network of one family, its losses, and how it makes samples.

    `noise_size`: standard normal numbers that one sample is made from; 0 for a model that makes
    none. `average_decay`: decay a step of the moving average of `averaged()`, whose weights are
    the ones that are judged and registered, beside the rest as it is; None for none. `prepares`:
    whether `prepare` is to be called before the first step.
    """

    noise_size: int = 0
    average_decay: float | None = None
    prepares: bool = False

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The phases of one training step, in their order."""

    @abstractmethod
    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Samples (B, *layout.shape), of the kind the modality decodes to, from noise
        (B, noise_size) and labels (B,).

        A pure function of its arguments and the weights: no other randomness.
        """

    def compilable(self) -> Iterable[nn.Module]:
        """The parts that torch.compile may take: those that no loss differentiates twice."""
        return self.children()

    def log_likelihood(self, records: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        """log p(record | label) of each record, (B,), in nats: exact, or a lower bound.

        Raises ModelError for a model that has none, as its family's `unbounded` says beforehand.
        """
        raise ModelError(
            "Likelihoods need a model that has them, and this one makes samples only",
            "Leave these metrics out, or evaluate a model of another family.",
        )

    def elbo(self, records: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        """A lower bound on `log_likelihood`, (B,), in nats, from one draw of what is hidden.

        What is exact is its own bound. Raises ModelError as `log_likelihood` does.
        """
        return self.log_likelihood(records, labels, draws)

    def averaged(self) -> nn.Module:
        """The part whose weights are averaged over the steps: what makes the samples."""
        return self

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fit what must be known before the first step, from one pass over the training data."""
        return None

    def finish(self, batches: Iterable[Batch], seed: int) -> None:
        """Fit what is fitted once, after the last step, from one pass over the training data."""
        return None
