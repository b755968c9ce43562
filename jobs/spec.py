"""What a spec can say: one job of kind train, evaluate or generate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from aigc.config import Config
from aigc.metrics import likelihoods, needed
from aigc.models import FAMILIES, ModelConfig
from aigc.training.config import TrainingConfig
from cluster.judgement import Gates
from cluster.resources import Resources
from cluster.tuning import Tune, Value
from jobs.diagnosis import Contradictions, diagnose, unknown_value
from jobs.economics import Economics
from jobs.errors import FieldPath, SpecInvalid, dotted, shortened
from jobs.overrides import override
from jobs.schedule.due import Due
from jobs.sections import (
    Data,
    Evaluation,
    GenerationEvaluation,
    ModelReference,
    Name,
    Publish,
    Registry,
    Screening,
    TrainingData,
    is_not_said,
)
from jobs.source import Source, read, written

GENERATION_FIGURES = ("blank", "duplicate")
SCREENING_FIGURES = ("missing", "rejected", "copied", "repeated")
"""Figures that every generated dataset has, so that gates need not list them as metrics."""

MAX_SHARDS = 10_000
"""Files of one generated dataset; more would be slower to list than to make."""

TUNABLE = ("model", "training")
"""The sections whose fields a search may change."""


class _Job(Config):
    @model_validator(mode="after")
    def _is_consistent(self) -> _Job:
        if found := tuple(self._contradictions()):
            raise Contradictions(found)
        return self

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        """What no field alone can know: where, and what to do."""
        return iter(())


class Train(_Job):
    """Train a model on a dataset, judge it, and register it.

    With `tune`, many are trained, each by one worker, as many at once as there are workers, and
    the best one is registered.
    """

    kind: Literal["train"] = "train"
    name: Name
    data: TrainingData
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    resources: Resources = Resources()
    evaluation: Evaluation = Evaluation()
    registry: Registry | None = None
    tune: Tune | None = None
    due: Due = None

    @property
    def team_sizes(self) -> Sequence[int]:
        """Every number of workers that a model may be trained by."""
        return [1] if self.tune else self.resources.counts

    def trial(self, values: Mapping[str, Value]) -> Train:
        """What one trial of `tune` trains: the spec with these values, and nothing registered.

        Raises SpecInvalid when the fields cannot have these values together.
        """
        plain = self.model_dump(mode="json", exclude={"tune", "registry"})
        plain["name"] = f"{self.name[:34]}-trial"
        plain["resources"]["workers"] = 1
        settings = [f"{path}={json.dumps(value)}" for path, value in values.items()]
        trial = check(override(Source(self.name, plain, {}), settings))
        assert isinstance(trial, Train)
        return trial

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        if message := self._undivided():
            yield ("training", "batch_size"), message
        if self.data.mixture and sum(self.data.mixture.values()) >= 1:
            yield ("data", "mixture"), f"must leave a share to {self.data.dataset}"
        if self.data.mixture and not self.data.stream.drop_last:
            message = "must be true with a mixture, whose every batch is whole"
            yield ("data", "stream", "drop_last"), message
        family = FAMILIES[self.model.family]
        if self.evaluation.metrics and not family.generative:
            message = f"must be empty: a {self.model.family} makes no samples to measure"
            yield ("evaluation", "metrics"), message
        elif (names := likelihoods(self.evaluation.metrics)) and (
            reason := family.unbounded(self.model)
        ):
            yield ("evaluation", "metrics"), f"must not name {', '.join(names)}: {reason}"
        if self.registry and self.registry.promote:
            yield from _unlisted(self.registry.promote, ("registry", "promote"), self.evaluation)
            yield from _nightly(self.registry.promote, ("registry", "promote"))
        if self.tune:
            yield from self._untunable(self.tune)

    def _untunable(self, tune: Tune) -> Iterator[tuple[FieldPath, str]]:
        """What cannot be searched."""
        if tune.metric not in self.evaluation.metrics:
            known = ", ".join(self.evaluation.metrics) or "which is empty"
            message = f"must be one of evaluation.metrics: {known} (got {shortened(tune.metric)})"
            yield ("tune", "metric"), message
        for path, field in tune.fields.items():
            where = ("tune", "fields", path)
            if path.split(".")[0] not in TUNABLE:
                yield where, f"must be a field of {' or '.join(TUNABLE)}, as model.width"
                continue
            try:
                for value in field.ends:
                    self.trial({path: value})
            except SpecInvalid as error:
                problem = error.problems[0]
                other = dotted(problem.path)
                yield where, problem.message if other == path else f"{other} {problem.message}"

    def _undivided(self) -> str | None:
        """Why the batch has no equal part for each worker, if so."""
        batch, parts = self.training.batch_size, self.training.accumulate
        workers = next((n for n in self.team_sizes if batch % (n * parts)), None)
        if workers is None:
            return None
        pieces = workers * parts
        nearest = max(pieces, batch - batch % pieces)
        each = f" times {parts} parts" if parts > 1 else ""
        told = f"as {nearest}" if len(self.team_sizes) == 1 else "as by all that are asked for"
        return f"must be divisible by the {workers} workers{each}, {told} (got {batch})"


class Evaluate(_Job):
    """Judge a registered model on a dataset's held-out split, and promote it if gates say so."""

    kind: Literal["evaluate"] = "evaluate"
    name: Name
    model: ModelReference
    data: Data
    evaluation: Evaluation
    resources: Resources = Resources()
    promote: Gates | None = None
    due: Due = None

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        if not self.evaluation.metrics:
            yield ("evaluation", "metrics"), "must name at least one metric to evaluate"
        if self.promote:
            yield from _unlisted(self.promote, ("promote",), self.evaluation)
            yield from _nightly(self.promote, ("promote",))


class Generate(_Job):
    """Make `count` samples with a registered model, check them, and publish them as a dataset.

    `economics` is the price list that its report counts with.
    """

    kind: Literal["generate"] = "generate"
    name: Name
    model: ModelReference
    count: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    shard_size: int = Field(default=1000, gt=0)
    resources: Resources = Resources()
    evaluation: GenerationEvaluation = GenerationEvaluation()
    screening: Screening | None = Field(default=None, exclude_if=is_not_said)
    gates: Gates = Gates()
    publish: Publish
    # Absent where there is none, so that the ids of such submissions stay what they are.
    economics: Economics | None = Field(default=None, exclude_if=lambda prices: prices is None)
    due: Due = None

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        if (fewest := needed(self.evaluation.metrics)) > self.count:
            message = f"must be at least {fewest}, which evaluation.metrics look at"
            yield ("count",), f"{message} (got {self.count})"
        if self.count > MAX_SHARDS * self.shard_size:
            fewest = -(-self.count // MAX_SHARDS)
            message = f"must be at least {fewest}, for at most {MAX_SHARDS:,} shards"
            yield ("shard_size",), f"{message} (got {self.shard_size})"
        if self.gates.better_than_champion:
            message = "has no use here, where the champion makes the samples: give a bound"
            yield ("gates", "better_than_champion"), message
        measured = GENERATION_FIGURES + (SCREENING_FIGURES if self.screening else ())
        yield from _unlisted(self.gates, ("gates",), self.evaluation, measured)


def _nightly(gates: Gates, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    """Gates beside earlier nights, where there are none."""
    for metric, bound in gates.bounds.items():
        if bound.of_nights is not None:
            yield (*path, metric, "of_nights"), "has no use here: only generations have nights"


def _unlisted(
    gates: Gates, path: FieldPath, evaluation: Evaluation, always: Sequence[str] = ()
) -> Iterator[tuple[FieldPath, str]]:
    """Gates on figures that nobody will measure."""
    compared = gates.better_than_champion
    for metric in gates.metrics:
        if metric not in (*evaluation.metrics, *always):
            field = metric if metric in gates.bounds or not compared else "better_than_champion"
            message = f"{metric} is not measured: add it to evaluation.metrics"
            yield (*path, field), message


Spec = Train | Evaluate | Generate
"""A job that is asked for, checked and with every default filled in."""

KINDS: dict[str, type[Spec]] = {"train": Train, "evaluate": Evaluate, "generate": Generate}


def load(path: Path | str, overrides: Sequence[str] = ()) -> Spec:
    """The spec in a file with each PATH=VALUE of `overrides` set.

    Raises SpecInvalid, which holds every mistake with its line.
    """
    return check(source_of(path, overrides))


def source_of(path: Path | str, overrides: Sequence[str] = ()) -> Source:
    """The plain data of a file with each PATH=VALUE set. Raises SpecInvalid."""
    return override(read(path), overrides)


def check(source: Source) -> Spec:
    """The spec that plain data describes. Raises SpecInvalid."""
    kind = source.data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        missing = f"is missing; there are {', '.join(KINDS)}"
        message = unknown_value(kind, KINDS) if "kind" in source.data else missing
        raise SpecInvalid([source.problem(("kind",), message)])
    try:
        # JSON, because strict validation of Python data refuses lists where tuples are declared.
        return KINDS[kind].model_validate_json(json.dumps(source.data))
    except ValidationError as error:
        raise SpecInvalid(diagnose(error, source, KINDS[kind])) from error


def as_document(spec: Spec) -> str:
    """The resolved spec as YAML, which loads as the same spec."""
    return written(spec.model_dump(mode="json"))


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    union: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "aigc job spec",
        **union.json_schema(),
    }
