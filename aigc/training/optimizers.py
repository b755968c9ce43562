"""What moves the parameters of a phase, at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from aigc.errors import ModelError
from aigc.models.contract import OptimizerConfig, Phase


def rate(config: OptimizerConfig, progress: float) -> float:
    """The learning rate at a share of the phase, in (0, 1)."""
    if progress < config.warm_up:
        return config.learning_rate * progress / config.warm_up
    return config.learning_rate * _remaining(config, progress)


def _remaining(config: OptimizerConfig, progress: float) -> float:
    if config.schedule == "cosine":
        along = (progress - config.warm_up) / (1 - config.warm_up)
        return 0.5 * (1 + math.cos(math.pi * along))
    if config.schedule == "wsd":
        return min(1.0, (1 - progress) / config.decay)
    return 1.0


class PhaseOptimizer:
    """The optimizers of one phase: AdamW, and Muon before it if its matrices are to have that.

    Raises ModelError when Muon is asked for and the phase has no matrices.
    """

    def __init__(self, phase: Phase) -> None:
        self._config, self._parameters = phase.optimizer, list(phase.parameters)
        self._parts = list(_parts(phase))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def gradient_norm(self) -> Tensor:
        """Of all gradients together, before they are clipped; on their device."""
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def step(self, progress: float) -> None:
        """Move the parameters along their gradients, which are clipped first if asked."""
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        now = rate(self._config, progress)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = now
            part.step()

    def tensors(self) -> dict[str, Tensor]:
        """Every array, as PART.PARAMETER.SLOT. The rate is none: it follows from the step."""
        return {
            f"{number}.{index}.{slot}": value
            for number, part in enumerate(self._parts)
            for index, slots in part.state_dict()["state"].items()
            for slot, value in slots.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from where `tensors()` were taken."""
        for number, part in enumerate(self._parts):
            parameters = [each for group in part.param_groups for each in group["params"]]
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                mine, index, slot = name.split(".")
                if int(mine) == number:
                    like = parameters[int(index)]
                    slots.setdefault(int(index), {})[slot] = _laid_out_as(like, value)
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": slots, "param_groups": groups})


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory format: a fused kernel walks both side by side."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parts(phase: Phase) -> Iterator[Optimizer]:
    config, rest = phase.optimizer, list(phase.parameters)
    if config.algorithm == "muon":
        if not phase.matrices:
            raise ModelError(
                f"The phase {phase.name} has no hidden matrices that Muon could move",
                "Set its optimizer's algorithm to adamw.",
            )
        chosen = {id(each) for each in phase.matrices}
        rest = [each for each in rest if id(each) not in chosen]
        yield Muon(
            phase.matrices,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
    if rest:
        yield AdamW(
            rest,
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
