"""Everything that training changes: networks, optimizers, average, step, position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from aigc.data.stream import START, Position
from aigc.models.contract import Model, Phase
from aigc.training.average import moving_average
from aigc.training.optimizers import PhaseOptimizer


class TrainingState:
    """A model being trained. The random numbers need no state: see `aigc.seeding.Draws`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.phases = list(model.phases())
        self.optimizers = _optimizers(self.phases)
        self.average = moving_average(model)
        self.step = 0
        self.position = START

    def tensors(self) -> dict[str, Tensor]:
        """Every array of the state, by a name that says where it belongs."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            kept = self.average.state_dict()
            named |= {f"average.{name}": tensor for name, tensor in kept.items()}
        for phase, optimizer in self._owners():
            slots = optimizer.tensors().items()
            named |= {f"optimizer.{phase.name}.{name}": tensor for name, tensor in slots}
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
        for phase, optimizer in self._owners():
            optimizer.restore(_under(f"optimizer.{phase.name}.", tensors))
        self.step = plain["step"]
        self.position = Position(*plain["position"])

    def _owners(self) -> Iterator[tuple[Phase, PhaseOptimizer]]:
        """The phases with an optimizer of their own, and that optimizer."""
        pairs = zip(self.phases, self.optimizers, strict=True)
        return (pair for pair in pairs if pair[0].shares is None)


def _optimizers(phases: Sequence[Phase]) -> list[PhaseOptimizer]:
    """One for each phase, the same object for those that share."""
    made: dict[str, PhaseOptimizer] = {}
    for phase in phases:
        shared = phase.shares
        made[phase.name] = PhaseOptimizer(phase) if shared is None else made[shared]
    return list(made.values())


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
