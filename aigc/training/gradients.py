"""The mean of the gradients over the workers.

Between machines and between GPUs it is on its way while the backward pass goes on: gradients are
sent in buckets, the last layers' first, because a backward pass comes to them first (Li et al.
2020, PyTorch Distributed). Hooks do it rather than DistributedDataParallel, which wraps a module
and its forward, where a phase is a loss and some parameters of a model.

The processors of one machine share their memory instead. Their messages would be copied through
the kernel by the same cores that compute, so that nothing is gained by sending them meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aigc.training.shared_memory import Neighbours, share
from aigc.training.world import World

CPU_BUCKET_BYTES, BUCKET_BYTES = 2**19, 25 * 2**20
"""Of fewer bytes, the start of a message costs more than the message: on processors, and on what
is faster."""


class Averager(Protocol):
    """Replaces the gradients of a phase by their means over the workers."""

    def averaging(self) -> AbstractContextManager[None]:
        """Average what one backward pass in the block adds up to; done when the block ends."""


def averager(parameters: Sequence[nn.Parameter], world: World) -> Averager:
    """The fastest that these workers have; all of them call it, in the same order."""
    if world.size == 1:
        return Alone()
    if world.device.type == "cpu":
        count = sum(each.numel() for each in parameters)
        neighbours = share(2 * world.size * count, world)
        if neighbours is not None:
            return InMemory(parameters, world, neighbours)
    return InBuckets(parameters, world)


class Alone:
    """One worker's gradients are the mean."""

    def averaging(self) -> AbstractContextManager[None]:
        """Nothing to do."""
        return nullcontext()


class InMemory:
    """Every worker writes its gradients where all can read them, and adds up those of all.

    The memory (2, workers, numbers) is used in turn: whoever writes into one half has heard from
    all that they are past the reading of it.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], world: World, neighbours: Neighbours
    ) -> None:
        self._parameters, self._world, self._neighbours = parameters, world, neighbours
        memory = neighbours.numbers.view(2, world.size, -1)
        self._shared = [[_views(numbers, parameters) for numbers in half] for half in memory]

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """Average what one backward pass in the block adds up to; done when the block ends."""
        yield
        self._shared.reverse()
        with torch.no_grad():
            self._write()
            # All have written when this is known to all; and whoever died is noticed.
            self._neighbours.wait()
            self._add_up()

    def _write(self) -> None:
        mine = self._shared[0][self._world.rank]
        for parameter, place in zip(self._parameters, mine, strict=True):
            if parameter.grad is not None:
                torch.div(parameter.grad, self._world.size, out=place)

    def _add_up(self) -> None:
        # In one order on every worker: all get the same bits.
        for parameter, first, second, *others in zip(
            self._parameters, *self._shared[0], strict=True
        ):
            if parameter.grad is not None:
                torch.add(first, second, out=parameter.grad)
                for other in others:
                    parameter.grad.add_(other)


class InBuckets:
    """Messages of some gradients each, one after the other while the backward pass goes on."""

    def __init__(self, parameters: Sequence[nn.Parameter], world: World) -> None:
        self._size, self._armed = world.size, False
        self._buckets = _buckets(parameters)
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
        self._armed = True
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
            for gradient, mean in zip(gradients, _views(flat / self._size, gradients), strict=True):
                gradient.copy_(mean)
        self._sent = []


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Of the numbers in `flat`, one after the other, each seen in the shape of one of `like`."""
    pieces = torch.split(flat, [each.numel() for each in like])
    return [piece.view_as(each) for piece, each in zip(pieces, like, strict=True)]


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
