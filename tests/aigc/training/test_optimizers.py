from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from aigc.errors import ModelError
from aigc.models.contract import OptimizerConfig, Phase
from aigc.training.optimizers import PhaseOptimizer, rate


def phase(config: OptimizerConfig, network: nn.Module, matrices: tuple[str, ...] = ()) -> Phase:
    named = dict(network.named_parameters())
    chosen = [named[name] for name in matrices]
    return Phase("phase", list(named.values()), lambda *_: {}, config, matrices=chosen)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8)
    )


def step(optimizer: PhaseOptimizer, network: nn.Module, seed: int, progress: float = 0.5) -> None:
    records = torch.randn(64, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(records).square().mean().backward()
    optimizer.step(progress)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([each.detach().reshape(-1) for each in network.parameters()])


def test_a_constant_rate_stays_after_warming_up() -> None:
    config = OptimizerConfig(learning_rate=0.1, warm_up=0.2)
    assert rate(config, 0.1) == pytest.approx(0.05)
    assert rate(config, 0.2) == rate(config, 0.99) == pytest.approx(0.1)


def test_a_cosine_falls_to_half_in_the_middle_of_what_follows_the_warm_up_and_then_to_nothing() -> (
    None
):
    config = OptimizerConfig(learning_rate=0.1, warm_up=0.2, schedule="cosine")
    assert rate(config, 0.2) == pytest.approx(0.1)
    assert rate(config, 0.6) == pytest.approx(0.05)
    assert rate(config, 1 - 1e-9) == pytest.approx(0, abs=1e-9)


def test_warm_up_stable_decay_is_stable_until_its_decay() -> None:
    config = OptimizerConfig(learning_rate=0.1, warm_up=0.1, schedule="wsd", decay=0.4)
    assert rate(config, 0.05) == pytest.approx(0.05)
    assert rate(config, 0.1) == rate(config, 0.6) == pytest.approx(0.1)
    assert rate(config, 0.8) == pytest.approx(0.05)


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    net = network()
    parameters = list(net.parameters())
    optimizer = PhaseOptimizer(phase(OptimizerConfig(clip_norm=1e-3), net))
    step(optimizer, net, seed=1)
    norms = [each.grad.norm() for each in parameters if each.grad is not None]
    assert len(norms) == len(parameters)
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_muon_moves_the_matrices_orthogonally_and_leaves_the_rest_to_adamw() -> None:
    config = OptimizerConfig(algorithm="muon", learning_rate=1e-2)
    net = network()
    before = {name: each.detach().clone() for name, each in net.named_parameters()}
    step(PhaseOptimizer(phase(config, net, ("2.weight",))), net, seed=1)
    moved = {name: (each - before[name]).detach() for name, each in net.named_parameters()}

    # Orthogonalised, the singular values of a step are about equal; a gradient's, which are the
    # products of few outputs here, are not.
    singular = torch.linalg.svdvals(moved["2.weight"])
    assert singular.median() > 0.5 * singular.max()
    # The size of AdamW's steps: a root mean square of 0.2 learning rates.
    assert moved["2.weight"].square().mean().sqrt().item() == pytest.approx(2e-3, rel=0.2)
    # The first step of Adam is the sign of the gradient.
    assert moved["0.weight"].abs().mean().item() == pytest.approx(1e-2, rel=1e-2)


def test_muon_without_matrices_is_refused() -> None:
    with pytest.raises(ModelError, match="no hidden matrices that Muon could move"):
        PhaseOptimizer(phase(OptimizerConfig(algorithm="muon"), network()))


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_restored_it_goes_on_to_the_same_bit_in_either_memory_format(
    algorithm: str, memory_format: torch.memory_format
) -> None:
    config = OptimizerConfig.model_validate({"algorithm": algorithm, "weight_decay": 0.1})
    ours, theirs = (network().to(memory_format=memory_format) for _ in range(2))
    stopped, undisturbed = (
        PhaseOptimizer(phase(config, each, ("2.weight",))) for each in (ours, theirs)
    )
    step(stopped, ours, seed=1)
    step(undisturbed, theirs, seed=1)
    resumed = PhaseOptimizer(phase(config, ours, ("2.weight",)))
    saved = {name: each.contiguous() for name, each in stopped.tensors().items()}
    resumed.restore(saved)
    step(resumed, ours, seed=2)
    step(undisturbed, theirs, seed=2)

    assert torch.equal(weights(ours), weights(theirs))
    assert not math.isnan(weights(ours).sum().item())
