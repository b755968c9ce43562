"""The mean of the gradients over the workers, on its way while the backward pass goes on.

Gradients are sent in buckets, the last layers' first, because a backward pass comes to them first
(Li et al. 2020, PyTorch Distributed). Hooks do it rather than DistributedDataParallel, which wraps
a module and its forward, where a phase is a loss and some parameters of a model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aigc.training.world import World

CPU_BUCKET_BYTES, BUCKET_BYTES = 2**19, 25 * 2**20
"""Of fewer bytes, the start of a message costs more than the message: on processors, and on what
is faster."""


class GradientAverager:
    """Replaces the gradients of a phase by their means over the workers."""

    def __init__(self, parameters: Sequence[nn.Parameter], world: World) -> None:
        self._size, self._armed = world.size, False
        self._buckets = _buckets(parameters) if world.size > 1 else []
        self._missing = list[int]()
        self._sent = list[tuple[list[Tensor], Tensor, Any]]()
        for number, bucket in enumerate(self._buckets):
            for parameter in bucket:
                hook = functools.partial(self._arrived, number)
                parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """Average what one backward pass in the block adds up to; done when the block ends."""
        self._missing, self._sent = [len(bucket) for bucket in self._buckets], []
        self._armed = bool(self._buckets)
        try:
            yield
        finally:
            self._armed = False
        self._finish()

    def _arrived(self, number: int, parameter: Tensor) -> None:
        if not self._armed:
            return
        self._missing[number] -= 1
        # In one order on every worker, whatever the order in which gradients are ready.
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[len(self._sent)]
        gradients = [each.grad for each in bucket if each.grad is not None]
        flat = torch.cat(
            [gradient.reshape(-1) for gradient in gradients] or [bucket[0].new_zeros(0)]
        )
        self._sent.append((gradients, flat, dist.all_reduce(flat, async_op=True)))

    def _finish(self) -> None:
        # A parameter that the loss does not depend on keeps its bucket waiting until now.
        while len(self._sent) < len(self._buckets):
            self._send()
        for gradients, flat, work in self._sent:
            work.wait()
            means = torch.split(flat / self._size, [each.numel() for each in gradients])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient))
        self._sent = []


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters from the last to the first, in buckets of about that size."""
    buckets, room = list[list[nn.Parameter]](), 0
    for parameter in reversed(parameters):
        if room <= 0:
            buckets.append([])
            room = CPU_BUCKET_BYTES if parameter.device.type == "cpu" else BUCKET_BYTES
        buckets[-1].append(parameter)
        room -= parameter.nbytes
    return buckets
