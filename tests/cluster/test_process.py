"""A process that computes, as it is set up: one of its own, since nothing of it can be undone."""

from __future__ import annotations

import resource

import pytest
import torch
import torch.multiprocessing as processes

from cluster.process import settle
from cluster.resources import Resources


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _train_like(queue: processes.SimpleQueue[tuple[int, int]]) -> None:
    settle(Resources(cpus_per_worker=1))
    before = 0
    for step in range(20):
        if step == 2:
            before = _faults()
        arrays = [torch.ones(2**20) for _ in range(8)]
        del arrays
    queue.put((torch.get_num_threads(), _faults() - before))


@pytest.mark.timeout(60)
def test_one_thread_and_no_memory_that_is_cleared_again_and_again() -> None:
    context = processes.get_context("spawn")
    queue = context.SimpleQueue()
    child = context.Process(target=_train_like, args=(queue,))
    child.start()
    child.join()

    threads, faults = queue.get()
    assert threads == 1
    # 18 steps of 8,192 pages each.
    assert faults < 8192
