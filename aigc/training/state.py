"""Everything that training changes: networks, optimizers, average, step, position."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from aigc.data.stream import START, Position
from aigc.models.contract import AdamConfig, Model, Phase
from aigc.training.average import moving_average


class TrainingState:
    """A model being trained. The random numbers need no state: see `aigc.seeding.Draws`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.phases = list(model.phases())
        self.optimizers = [_adam(phase, phase.optimizer) for phase in self.phases]
        self.average = moving_average(model)
        self.step = 0
        self.position = START

    def tensors(self) -> dict[str, Tensor]:
        """Every array of the state, by a name that says where it belongs."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            kept = self.average.state_dict()
            named |= {f"average.{name}": tensor for name, tensor in kept.items()}
        for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    named[f"optimizer.{phase.name}.{index}.{slot}"] = value
        # safetensors refuses two names for one memory, and training goes on while this is written.
        return {name: tensor.detach().clone() for name, tensor in named.items()}

    def plain(self) -> dict[str, Any]:
        """The rest of the state: numbers."""
        return {"step": self.step, "position": list(self.position)}

    def restore(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Go on from where `tensors()` and `plain()` were taken."""
        self.model.load_state_dict(_under("model.", tensors))
        if self.average is not None:
            self.average.load_state_dict(_under("average.", tensors))
        for phase, optimizer in zip(self.phases, self.optimizers, strict=True):
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(f"optimizer.{phase.name}.", tensors).items():
                index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.step = plain["step"]
        self.position = Position(*plain["position"])


def _adam(phase: Phase, config: AdamConfig) -> torch.optim.Optimizer:
    parameters = cast(list[nn.Parameter], list(phase.parameters))
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
