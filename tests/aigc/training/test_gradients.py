"""Workers that are processes of their own, joined by gloo."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor, nn

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.models import ModelConfig, build
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.contract import OptimizerConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.training import gradients, shared_memory
from aigc.training.config import TrainingConfig
from aigc.training.gradients import InBuckets, InMemory, averager
from aigc.training.loop import Runtime, train
from aigc.training.shared_memory import Neighbours, share
from aigc.training.state import TrainingState
from aigc.training.world import World

# What is compared are Adam's means of the gradients. Not the weights: its division by the size of a
# gradient turns rounding, where that is about 0, into whole steps.
CALM = OptimizerConfig(learning_rate=1e-6)
FAMILIES: dict[str, ModelConfig] = {
    "gan": GANConfig(width=8, latent_size=8, generator=CALM, discriminator=CALM),
    "gan, relativistic": GANConfig(
        recipe="relativistic", width=8, latent_size=8, generator=CALM, discriminator=CALM
    ),
    "gan, wgan-gp, augmented": GANConfig(
        recipe="wgan-gp", width=8, latent_size=8, augment=True, generator=CALM, discriminator=CALM
    ),
    "attention": AttentionConfig(width=16, depth=2, heads=2, dropout=0.1, optimizer=CALM),
    "attention, words": AttentionConfig(
        width=16,
        depth=2,
        heads=2,
        words=WordsConfig(count=16, code_size=4, width=8, share=0.5, optimizer=CALM),
        optimizer=CALM,
    ),
    "vae": VAEConfig(width=8, latent_size=4, mixture=0, optimizer=CALM),
    "classifier": ClassifierConfig(width=4, optimizer=CALM),
}


def trained(
    dataset: Dataset, config: ModelConfig, world: World, accumulate: int = 1
) -> dict[str, Tensor]:
    training = TrainingConfig(steps=6, batch_size=32, seed=5, accumulate=accumulate, report_every=3)
    norms = dict[str, Tensor]()

    def report(step: int, figures: Mapping[str, float]) -> None:
        for name, figure in figures.items():
            if name.endswith("gradient_norm"):
                norms[f"{name} at {step}"] = torch.tensor(figure)

    state = TrainingState(build(config, dataset.manifest.layout, training.seed))
    stream = Stream(dataset, "train", 32, training.seed, rank=world.rank, size=world.size)
    train(state, stream, training, Runtime(world, report, _ignore, _ignore))
    means = {name: each for name, each in state.tensors().items() if name.endswith("exp_avg")}
    assert norms
    return means | norms


def _ignore(*_: object) -> None: ...


def _join(rank: int, size: int, port: int) -> World:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    return World(rank, size)


def _train(rank: int, size: int, port: int, dataset: Dataset, folder: Path) -> None:
    world = _join(rank, size, port)
    for name, config in FAMILIES.items():
        torch.save(trained(dataset, config, world), folder / f"{name}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # Of a bias whose gradient is 0, as in a game of differences, only rounding is left.
        most = 1e-4 * values.abs().max().item() + 1e-8
        torch.testing.assert_close(found[name], values, rtol=1e-3, atol=most, msg=name)


@pytest.fixture(scope="module")
def of_two(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The means and the norms of gradients that two workers end with."""
    folder = tmp_path_factory.mktemp("two")
    processes.spawn(_train, (2, _free_port(), digits, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_two_workers_compute_what_one_does_with_the_whole_batch(
    name: str, of_two: Path, digits: Dataset
) -> None:
    first, second = (torch.load(of_two / f"{name}-{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[each], second[each]) for each in first)
    close(first, trained(digits, FAMILIES[name], World()))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_in_parts_gives_what_it_gives_as_a_whole(name: str, digits: Dataset) -> None:
    whole = trained(digits, FAMILIES[name], World())
    close(trained(digits, FAMILIES[name], World(), accumulate=4), whole)


def _slowly(function: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        time.sleep(0.05)
        return result

    return slow


def _average(rank: int, port: int, folder: Path, shared: bool) -> None:
    world = _join(rank, 2, port)
    gradients.CPU_BUCKET_BYTES = 64
    shared_memory.MEMORY = folder if shared else folder / "missing"
    torch.manual_seed(0)
    network, unused = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)), nn.Linear(9, 9)
    mean = averager([*network.parameters(), *unused.parameters()], world)
    assert isinstance(mean, InMemory if shared else InBuckets)
    records = torch.arange(20.0).reshape(4, 5)[2 * rank : 2 * rank + 2]
    if rank == 1:
        Neighbours.wait = _slowly(Neighbours.wait)
    # Often enough for what is used in turn to be used again.
    for turn in range(5):
        network.zero_grad()
        (turn * network(records).square().mean()).backward()
        with mean.averaging():
            network(records).square().mean().backward()
        assert unused.weight.grad is None
        torch.save([each.grad for each in network.parameters()], folder / f"{rank}-{turn}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("shared", [True, False], ids=["in memory", "in buckets"])
def test_gradients_are_replaced_by_their_means(shared: bool, tmp_path: Path) -> None:
    processes.spawn(_average, (_free_port(), tmp_path, shared), nprocs=2)

    # Nothing but what the workers saved: the memory has no name.
    assert len(list(tmp_path.iterdir())) == 10
    for turn in range(5):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
        loss = network(torch.arange(20.0).reshape(4, 5)).square().mean()
        ((turn + 1) * loss).backward()
        for rank in range(2):
            found = torch.load(tmp_path / f"{rank}-{turn}.pt")
            for gradient, parameter in zip(found, network.parameters(), strict=True):
                torch.testing.assert_close(gradient, parameter.grad)


def _share(rank: int, port: int, folder: Path) -> None:
    world = _join(rank, 2, port)
    shared_memory.MEMORY = folder
    # More than any machine has.
    assert share(2**50, world) is None
    assert not list(folder.iterdir())
    dist.barrier()
    dist.destroy_process_group()


def test_memory_without_room_is_not_shared(tmp_path: Path) -> None:
    processes.spawn(_share, (_free_port(), tmp_path), nprocs=2)


def _lose(rank: int, port: int, folder: Path) -> None:
    world = _join(rank, 2, port)
    shared_memory.MEMORY = folder
    parameter = nn.Parameter(torch.ones(3))
    mean = averager([parameter], world)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(dist.DistNetworkError, match="another worker"), mean.averaging():
        parameter.sum().backward()
    (folder / "noticed").touch()


def test_whoever_shares_memory_with_a_dead_worker_hears_of_it(tmp_path: Path) -> None:
    workers = processes.spawn(_lose, (_free_port(), tmp_path), nprocs=2, join=False)
    for process in workers.processes:
        process.join(60)

    assert [each.exitcode for each in workers.processes] == [0, -signal.SIGKILL]
    assert (tmp_path / "noticed").exists()
