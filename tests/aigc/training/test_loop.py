from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.catalog import Dataset
from aigc.data.stream import Stream
from aigc.errors import ArtifactCorrupt, TrainingDiverged
from aigc.models import ModelConfig, build
from aigc.models.attention import Attention, AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.contract import Batch, Losses, Model, OptimizerConfig, Phase
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.seeding import Draws
from aigc.training.average import averaged_weights, moving_average
from aigc.training.checkpoint import restore_newest, save_checkpoint
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, Sums, train
from aigc.training.optimizers import PhaseOptimizer
from aigc.training.state import TrainingState
from aigc.training.world import World

CONFIG = TrainingConfig(
    steps=12, batch_size=32, seed=5, report_every=4, sample_every=6, checkpoint_every=5
)
MODELS: dict[str, ModelConfig] = {
    "gan": GANConfig(width=8, latent_size=8),
    "relativistic": GANConfig(recipe="relativistic", width=8, latent_size=8),
    "wgan-gp": GANConfig(recipe="wgan-gp", width=8, latent_size=8),
    "vae": VAEConfig(width=8, latent_size=4, mixture=2),
    "classifier": ClassifierConfig(width=4),
    # Words are learned until step 6: both stops are in the middle of a phase.
    "words": AttentionConfig(
        width=16, depth=1, heads=2, words=WordsConfig(count=16, code_size=4, width=8, share=0.5)
    ),
}


@dataclass
class Notes:
    """Writes down what the loop says."""

    reports: dict[int, dict[str, float]] = field(default_factory=dict)
    shown: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    folder: Path | None = None

    def runtime(self) -> Runtime:
        return Runtime(World(), self.report, self.show, self.save)

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        self.reports[step] = dict(figures)

    def show(self, state: TrainingState) -> None:
        self.shown.append(state.step)

    def save(self, state: TrainingState, sums: Sums) -> None:
        self.saved.append(state.step)
        if self.folder is not None:
            save_checkpoint(self.folder, state, sums=sums)


def begin(config: ModelConfig, dataset: Dataset) -> tuple[TrainingState, Stream]:
    model = build(config, dataset.manifest.layout, CONFIG.seed)
    return TrainingState(model), Stream(dataset, "train", CONFIG.batch_size, CONFIG.seed)


def test_reports_pictures_and_checkpoints_come_at_their_intervals(digits: Dataset) -> None:
    notes = Notes()
    state, stream = begin(MODELS["gan"], digits)
    train(state, stream, CONFIG, notes.runtime())

    assert list(notes.reports) == [4, 8, 12]
    assert notes.shown == [0, 6]
    assert notes.saved == [5, 10, 12]
    assert {"discriminator/loss", "generator/loss", "records_per_second"} <= set(notes.reports[4])


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("stop", [5, 7])
def test_stopping_and_resuming_equals_never_having_stopped(
    digits: Dataset, tmp_path: Path, family: str, stop: int
) -> None:
    whole, stream = begin(MODELS[family], digits)
    undisturbed, noted = Notes(), Notes()
    train(whole, stream, CONFIG, undisturbed.runtime())

    half, stream = begin(MODELS[family], digits)
    shortened = CONFIG.model_copy(update={"checkpoint_every": stop})
    with pytest.raises(KeyboardInterrupt):
        train(half, stream, shortened, Interrupting(folder=tmp_path).runtime())
    resumed, stream = begin(MODELS[family], digits)
    plain = restore_newest(tmp_path, resumed)
    assert plain is not None
    assert resumed.step == stop
    train(resumed, stream, CONFIG, noted.runtime(), plain["sums"])

    expected, actual = whole.tensors(), resumed.tensors()
    assert expected.keys() == actual.keys()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []
    assert list(noted.reports) == [8, 12]
    assert [losses(noted, step) for step in (8, 12)] == [
        losses(undisturbed, step) for step in (8, 12)
    ]


def losses(notes: Notes, step: int) -> dict[str, float]:
    """What is reported, but for the speed."""
    return {name: value for name, value in notes.reports[step].items() if "/" in name}


class Interrupting(Notes):
    def save(self, state: TrainingState, sums: Sums) -> None:
        super().save(state, sums)
        raise KeyboardInterrupt


def test_a_finished_training_does_nothing_when_it_is_resumed(digits: Dataset) -> None:
    state, stream = begin(MODELS["vae"], digits)
    train(state, stream, CONFIG, Notes().runtime())
    before, notes = state.tensors(), Notes()
    train(state, stream, CONFIG, notes.runtime())

    assert notes.reports == {}
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors().items())


class Exploding(Model):
    """A loss that is no number from the third step on."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset.manifest.layout)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.steps = 0

    def phases(self) -> list[Phase]:
        return [Phase("only", [self.weight], self._loss, OptimizerConfig(), every=1)]

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        self.steps += 1
        return {"loss": self.weight.sum() * (float("nan") if self.steps > 2 else 1.0)}

    def sample(self, noise: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return noise

    def finish(self, batches: Iterable[Batch], seed: int) -> None:
        return None


def test_a_loss_that_is_no_number_stops_the_training(digits: Dataset) -> None:
    state = TrainingState(Exploding(digits))
    stream = Stream(digits, "train", CONFIG.batch_size, CONFIG.seed)

    with pytest.raises(TrainingDiverged, match=r"only/loss is nan at step 4.*learning rate"):
        train(state, stream, CONFIG, Notes().runtime())


def test_a_phase_runs_at_its_own_interval(digits: Dataset) -> None:
    model = Exploding(digits)
    counted = TrainingState(model)
    counted.phases = [Phase("only", [model.weight], model._loss, OptimizerConfig(), every=5)]
    train(
        counted,
        Stream(digits, "train", CONFIG.batch_size, CONFIG.seed),
        CONFIG.model_copy(update={"steps": 9, "report_every": 9}),
        Notes().runtime(),
    )

    assert model.steps == 2


class Listening(Exploding):
    """Writes down what the losses of an early and a late phase are told."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.other = torch.nn.Parameter(torch.ones(1))
        self.heard: dict[str, list[float]] = {"early": [], "late": []}

    def phases(self) -> list[Phase]:
        return [
            Phase("early", [self.weight], self._hear("early", self.weight), ends=0.25),
            Phase("late", [self.other], self._hear("late", self.other), begins=0.25),
        ]

    def averaged(self) -> torch.nn.Module:
        return torch.nn.ParameterList([self.other])

    def _hear(self, name: str, weight: torch.Tensor) -> Callable[[Batch, Draws, float], Losses]:
        def loss(batch: Batch, draws: Draws, progress: float) -> Losses:
            self.heard[name].append(progress)
            return {"loss": weight.sum()}

        return loss


class Hearing(PhaseOptimizer):
    def __init__(self, phase: Phase) -> None:
        super().__init__(phase)
        self.heard: list[float] = []

    def step(self, progress: float) -> None:
        self.heard.append(progress)
        super().step(progress)


def test_a_phase_runs_in_its_span_and_is_told_how_much_of_it_is_done(digits: Dataset) -> None:
    model, notes = Listening(digits), Notes()
    state = TrainingState(model)
    heard = [Hearing(phase) for phase in state.phases]
    state.optimizers = list(heard)
    train(state, Stream(digits, "train", CONFIG.batch_size, CONFIG.seed), CONFIG, notes.runtime())

    early, late = (heard[n].heard for n in range(2))
    assert model.heard == {
        "early": pytest.approx([n / 3 for n in range(3)]),
        "late": pytest.approx([n / 9 for n in range(9)]),
    }
    assert early == pytest.approx([(n + 0.5) / 3 for n in range(3)])
    assert late == pytest.approx([(n + 0.5) / 9 for n in range(9)])
    assert [set(losses(notes, step)) for step in notes.reports] == [
        {"early/loss", "late/loss"},
        {"late/loss"},
        {"late/loss"},
    ]


@given(st.floats(0, 1), st.integers(1, 1000))
def test_phases_that_follow_each_other_share_the_steps(share: float, steps: int) -> None:
    first, second = Phase("a", [], _none, ends=share), Phase("b", [], _none, begins=share)
    assert [*first.span(steps), *second.span(steps)] == list(range(steps))


def _none(batch: Batch, draws: Draws, progress: float) -> Losses:
    return {}


def test_the_average_begins_with_the_phase_that_moves_it(digits: Dataset) -> None:
    state = TrainingState(Listening(digits))
    state.model.average_decay = 0.9
    state.average = moving_average(state.model)
    train(state, Stream(digits, "train", CONFIG.batch_size, CONFIG.seed), CONFIG, Notes().runtime())

    assert state.average is not None
    assert int(state.average.n_averaged) == 9


def test_words_are_judged_as_the_transformer_knew_them(digits: Dataset) -> None:
    state, stream = begin(MODELS["words"], digits)
    model = state.model
    assert isinstance(model, Attention)
    parts = model.tokens, model.transformer
    at_step: dict[int, list[torch.Tensor]] = {}

    def save(state: TrainingState, sums: Sums) -> None:
        at_step[state.step] = weights(model.tokens)

    runtime = dataclasses.replace(Notes().runtime(), save=save)
    train(state, stream, CONFIG.model_copy(update={"checkpoint_every": 3}), runtime)
    words, transformer = map(weights, parts)
    with averaged_weights(model, state.average):
        judged_words, judged_transformer = map(weights, parts)

    assert not all(map(torch.equal, at_step[3], at_step[6]))
    assert all(map(torch.equal, at_step[6], words))
    assert all(map(torch.equal, words, judged_words))
    assert not all(map(torch.equal, transformer, judged_transformer))


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_the_average_is_in_the_model_only_inside_the_block(digits: Dataset) -> None:
    state, stream = begin(MODELS["gan"], digits)
    train(state, stream, CONFIG, Notes().runtime())
    trained = [p.detach().clone() for p in state.model.averaged().parameters()]
    with averaged_weights(state.model, state.average) as model:
        inside = [p.detach().clone() for p in model.averaged().parameters()]
        assert not model.training

    assert any(not torch.equal(a, b) for a, b in zip(trained, inside, strict=True))
    after = list(state.model.averaged().parameters())
    assert all(torch.equal(a, b) for a, b in zip(trained, after, strict=True))
    assert state.model.training


def saved_twice(digits: Dataset, folder: Path) -> TrainingState:
    state, stream = begin(MODELS["classifier"], digits)
    train(state, stream, CONFIG, Notes(folder=folder).runtime())
    return state


def test_only_the_newest_checkpoints_are_kept(digits: Dataset, tmp_path: Path) -> None:
    saved_twice(digits, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000012"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "plain.json", "hashes.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_passed_over(
    digits: Dataset, tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved_twice(digits, tmp_path)
    path = tmp_path / "step-00000012" / name
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[:middle])
    else:
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
    state, _ = begin(MODELS["classifier"], digits)

    assert restore_newest(tmp_path, state)
    assert state.step == 10
    assert "passed over a damaged checkpoint" in caplog.text


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again(
    digits: Dataset, tmp_path: Path
) -> None:
    saved_twice(digits, tmp_path)
    for path in tmp_path.glob("*/plain.json"):
        path.write_text("{}")
    state, _ = begin(MODELS["classifier"], digits)

    with pytest.raises(ArtifactCorrupt, match=r"plain\.json was changed"):
        restore_newest(tmp_path, state)


def test_without_checkpoints_there_is_nothing_to_restore(digits: Dataset, tmp_path: Path) -> None:
    state, _ = begin(MODELS["classifier"], digits)

    assert not restore_newest(tmp_path, state)
