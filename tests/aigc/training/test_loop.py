from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.catalog import Dataset
from aigc.data.stream import START, Position, Stream
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
from aigc.training.loop import CLOCKED, Runtime, Sums, train
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
    assert set(notes.reports[4]) >= {
        "discriminator/loss",
        "discriminator/gradient_norm",
        "generator/loss",
        "time/records_per_second",
        "time/data_wait_share",
        "time/checkpoint_share",
    }


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
    assert [learned(noted, step) for step in (8, 12)] == [
        learned(undisturbed, step) for step in (8, 12)
    ]


def learned(notes: Notes, step: int) -> dict[str, float]:
    """What is reported, but for the figures of the clock."""
    figures = notes.reports[step].items()
    return {name: value for name, value in figures if not name.startswith(CLOCKED)}


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
    assert [set(learned(notes, step)) for step in notes.reports] == [
        {"early/loss", "early/gradient_norm", "late/loss", "late/gradient_norm"},
        {"late/loss", "late/gradient_norm"},
        {"late/loss", "late/gradient_norm"},
    ]


class Steepening(Exploding):
    """A loss whose gradient, of four weights, has the norm 2, 4, 6 … at its first, second … run."""

    def __init__(self, dataset: Dataset, every: int = 1, ends: float = 1.0) -> None:
        super().__init__(dataset)
        self.weight = torch.nn.Parameter(torch.ones(4))
        self.every, self.ends = every, ends

    def phases(self) -> list[Phase]:
        clipped = OptimizerConfig(clip_norm=1e-3)
        only = Phase("only", [self.weight], self._loss, clipped, every=self.every, ends=self.ends)
        return [only]

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        self.steps += 1
        return {"loss": self.steps * self.weight.sum()}


@pytest.mark.parametrize(
    ("every", "ends", "expected"),
    [
        (1, 1.0, {4: 8, 8: 16, 11: 22}),
        (3, 1.0, {4: 4, 8: 6, 11: 8}),
        (5, 1.0, {4: 2, 8: 4, 11: 6}),
        (1, 0.5, {4: 8, 8: 12}),
        (20, 1.0, {4: 2}),
    ],
)
def test_the_norm_of_the_last_gradients_is_reported_as_they_were_before_clipping(
    every: int, ends: float, expected: dict[int, float], digits: Dataset
) -> None:
    state, notes = TrainingState(Steepening(digits, every, ends)), Notes()
    config = CONFIG.model_copy(update={"steps": 11})
    train(state, Stream(digits, "train", 32, 5), config, notes.runtime())

    norms = {step: learned(notes, step).get("only/gradient_norm") for step in notes.reports}
    assert {step: norm for step, norm in norms.items() if norm is not None} == expected


class Slow(Stream):
    """A stream that takes its time."""

    def batches(self, start: Position = START) -> Iterator[tuple[Batch, Position]]:
        for each in super().batches(start):
            time.sleep(0.01)
            yield each


def test_the_time_spent_waiting_for_data_and_for_checkpoints_is_reported(digits: Dataset) -> None:
    def save(state: TrainingState, sums: Sums) -> None:
        time.sleep(0.1)

    def shares(stream: type[Stream], runtime: Callable[[Notes], Runtime]) -> dict[str, list[float]]:
        notes = Notes()
        data = stream(digits, "train", CONFIG.batch_size, CONFIG.seed)
        train(TrainingState(Steepening(digits)), data, CONFIG, runtime(notes))
        names = ("data_wait_share", "checkpoint_share")
        return {
            name: [report[CLOCKED + name] for report in notes.reports.values()] for name in names
        }

    waiting = shares(Slow, Notes.runtime)
    saving = shares(Stream, lambda notes: dataclasses.replace(notes.runtime(), save=save))

    assert min(waiting["data_wait_share"]) > 0.6
    assert max(waiting["checkpoint_share"]) < 0.2
    # Those of steps 5 and 10; step 12 has its own after the last report. Data come slowly at first.
    assert saving["checkpoint_share"][0] == 0
    assert min(saving["checkpoint_share"][1:]) > 0.6
    assert max(saving["data_wait_share"][1:]) < 0.4


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
