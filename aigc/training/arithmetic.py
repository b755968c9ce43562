"""How the arithmetic of a training is done: precision, memory format, compilation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from aigc.data.batches import Batch
from aigc.models.contract import Model
from aigc.training.config import ExecutionConfig


class Arithmetic:
    """An `ExecutionConfig`, carried out on a device."""

    def __init__(self, config: ExecutionConfig, device: torch.device) -> None:
        self._config, self._device = config, device

    def arrange(self, model: Model) -> None:
        """Lay out the model's weights, and compile what can be compiled, in place."""
        if self._config.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stubs
        if self._config.compile:
            for part in model.compilable():
                part.compile()

    def laid_out(self, batch: Batch) -> Batch:
        """The batch, its records in the memory format of the weights."""
        if not self._config.channels_last or batch.records.dim() != 4:
            return batch
        records = batch.records.contiguous(memory_format=torch.channels_last)
        return batch._replace(records=records)

    def autocast(self) -> AbstractContextManager[object]:
        """Where a loss is computed."""
        if self._config.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)
