"""The world as the training loop sees it: which worker it is, of how many, on which device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Worker `rank` of `size`. With size > 1 a torch.distributed process group is up."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this worker writes what is written once."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the workers, in place."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values
