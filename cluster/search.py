"""The search that Ray Tune asks for values: Optuna's choice, remembered in a file.

The values of a trial come from the tree-structured Parzen estimator (Bergstra et al. 2011), which
is told the trials so far each time anew: a killed search goes on as if nobody had disturbed it.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher

from aigc.data.files import write_json
from aigc.errors import DataError
from aigc.seeds import derive
from cluster.tuning import Range, Trial, Tune, Value

optuna.logging.set_verbosity(optuna.logging.WARNING)

RESULT = "trial"
"""The name under which Ray Tune hands on what a trial returned."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial returns: the figure of its submission, or why there is none.

    Neither, when it was asked to stop: it is begun again when the search goes on.
    """

    submission: str
    figure: float | None = None
    error: str | None = None


TrialFunction = Callable[[Mapping[str, Value]], TrialResult]


class Search(Searcher):
    """Gives values to trials while the budget lasts, and keeps what became of them in `file`.

    `heard` is called with each trial that has ended. `stopping` is asked before each one begins.
    """

    def __init__(
        self,
        tune: Tune,
        better: Literal["lower", "higher"],
        seed: int,
        file: Path,
        heard: Callable[[Trial], None],
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.trials, self._spent = _kept(file, tune)
        self._tune, self._better, self._seed, self._file = tune, better, seed, file
        self._heard, self._stopping = heard, stopping
        self._numbers, self._is_stopped = dict[str, int](), False
        self._left_open = [trial for trial in self.trials if trial.is_open]
        self._began = time.monotonic() - self._spent

    @property
    def best(self) -> Trial | None:
        """The trial with the best figure so far, of equals the first."""
        ended = [trial for trial in self.trials if trial.figure is not None]
        sign = 1 if self._better == "lower" else -1
        return min(ended, key=lambda trial: sign * (trial.figure or 0.0), default=None)

    def suggest(self, trial_id: str) -> Any:
        """The values of the next trial, or that there is none: as Ray Tune asks for them."""
        if self._is_stopped or self._stopping():
            return Searcher.FINISHED
        if self._left_open:
            trial = self._left_open.pop(0)
        elif self._is_spent():
            return Searcher.FINISHED
        else:
            number = len(self.trials)
            trial = Trial(number, next_values(self._tune, self._better, self.trials, self._seed))
            self.trials.append(trial)
            self._keep()
        self._numbers[trial_id] = trial.number
        return dict(trial.values)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear from Ray Tune that a trial has ended, or that it is lost for good."""
        lost = TrialResult("", error="the trial's process died too often")
        self.end(trial_id, (result or {}).get(RESULT, lost))

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """What a trial says before its end is not looked at."""

    def end(self, trial_id: str, result: TrialResult) -> None:
        """Hear what became of a trial."""
        number = self._numbers.pop(trial_id)
        trial = replace(self.trials[number], **_readable(asdict(result)))
        if trial.is_open:
            self._is_stopped = True
            return
        self.trials[number] = trial
        self._keep()
        self._heard(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes down what it could restore a search from, and ours is kept."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune wants a file of its own: everything is in ours already."""
        Path(checkpoint_path).write_bytes(self._file.read_bytes())

    def _is_spent(self) -> bool:
        tune, count = self._tune, len(self.trials)
        if tune.trials is not None and count >= tune.trials:
            return True
        seconds = time.monotonic() - self._began
        return tune.minutes is not None and count > 0 and seconds >= 60 * tune.minutes

    def _keep(self) -> None:
        seconds = time.monotonic() - self._began
        write_json(self._file, {"seconds": seconds, "trials": [asdict(t) for t in self.trials]})


def next_values(
    tune: Tune, better: Literal["lower", "higher"], trials: Sequence[Trial], seed: int
) -> dict[str, Value]:
    """The values of the trial after these: a function of its arguments alone."""
    with warnings.catch_warnings():
        # constant_liar: what is open counts as bad, so that trials side by side differ.
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=derive(seed, "trial", len(trials)) % 2**32, constant_liar=True
        )
    direction = StudyDirection.MINIMIZE if better == "lower" else StudyDirection.MAXIMIZE
    study = optuna.create_study(sampler=sampler, direction=direction)
    space = {path: _distribution(each) for path, each in tune.fields.items()}
    study.add_trials([_told(trial, space) for trial in trials])
    return dict(study.ask(space).params)


def _told(trial: Trial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    state = TrialState.COMPLETE
    if trial.figure is None:
        state = TrialState.RUNNING if trial.is_open else TrialState.FAIL
    return create_trial(
        state=state, value=trial.figure, params=dict(trial.values), distributions=space
    )


def _distribution(field: Range) -> BaseDistribution:
    if field.choice is not None:
        return CategoricalDistribution(field.choice)
    if field.integer is not None:
        return IntDistribution(*field.integer)
    low, high = field.ends
    return FloatDistribution(low, high, log=field.log_uniform is not None)


def _readable(result: dict[str, Any]) -> dict[str, Any]:
    """A result that JSON and Optuna take: no figure is infinite."""
    figure = result["figure"]
    if figure is None or math.isfinite(figure):
        return result
    return {**result, "figure": None, "error": f"the figure is {figure}"}


def _kept(file: Path, tune: Tune) -> tuple[list[Trial], float]:
    """The trials of the attempts before this one, and the seconds that they took."""
    if not file.exists():
        return [], 0.0
    try:
        kept = json.loads(file.read_bytes())
        trials = [Trial(**each) for each in kept["trials"]]
        if not all(_belongs(trial, number, tune) for number, trial in enumerate(trials)):
            raise ValueError("a trial is not of this search")
        return trials, float(kept["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{file} is no record of this search",
            "Remove it; trials that have ended are still known",
        ) from error


def _belongs(trial: Trial, number: int, tune: Tune) -> bool:
    """Whether this search could have written the trial down as that number."""
    return (
        trial.number == number
        and trial.values.keys() == tune.fields.keys()
        and all(tune.fields[path].allows(value) for path, value in trial.values.items())
        and (trial.figure is None or math.isfinite(trial.figure))
    )
