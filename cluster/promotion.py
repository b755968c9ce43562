"""Promotion: gates judged from recorded figures, and the better one made champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cluster.aliases import NOBODY
from cluster.errors import GateRefused
from cluster.evaluation import Evaluation
from cluster.judgement import Gates, Verdict, judge
from cluster.ledger import Cause
from cluster.registry import ModelVersion, Registry

Figures = Mapping[str, float]
Measure = Callable[[ModelVersion, str], Figures]
"""Takes the champion's figure of a metric on the data and under the extractor of its rival."""


def _unmeasured(champion: ModelVersion, metric: str) -> Figures:
    """Where figures are only looked up: the gate says that there is none."""
    return {}


def promote(
    registry: Registry,
    version: ModelVersion,
    evaluation: Evaluation,
    gates: Gates,
    cause: Cause,
    measure: Measure = _unmeasured,
) -> Verdict:
    """Judge the version by its evaluation, and make it champion if it passes.

    The champion that it has beaten is the one that it replaces: if another came in between, it is
    judged again. Once for each submission: asked again, the first verdict stands, also after a
    rollback. Under a `cause` of kind "force" it becomes champion whatever the verdict.
    """
    if cause.submission and (decided := registry.decided(version.name, cause.submission)):
        return decided
    while True:
        rival = _rival(registry, version, gates)
        figures = _figures_of(rival, evaluation, gates, measure)
        verdict = judge(evaluation.figures, gates, figures)
        compared = gates.better_than_champion is not None and cause.kind != "force"
        beaten = (rival.version if rival else NOBODY) if compared else None
        if registry.promote(version, verdict, cause, beaten):
            return verdict


def promote_recorded(registry: Registry, version: ModelVersion, cause: Cause) -> Verdict:
    """Promote by what is recorded with the version: its evaluation, and the gates of its spec.

    Raises GateRefused when there are none and it is not forced.
    """
    if version.gates is None or version.evaluation is None:
        missing = "gates" if version.gates is None else "evaluation"
        if cause.kind != "force":
            raise GateRefused(
                f"{version} has no {missing} to be judged by",
                "Submit an evaluate spec with promote, or use --force with a --reason",
            )
        verdict = Verdict(False, ())
        registry.promote(version, verdict, cause)
        return verdict
    return promote(registry, version, Evaluation(**version.evaluation), version.gates, cause)


def _rival(registry: Registry, version: ModelVersion, gates: Gates) -> ModelVersion | None:
    """The champion to compare with; None when it is the version itself, or no gate compares."""
    if gates.better_than_champion is None:
        return None
    champion = registry.champion(version.name)
    return None if champion is None or champion.version == version.version else champion


def _figures_of(
    rival: ModelVersion | None, evaluation: Evaluation, gates: Gates, measure: Measure
) -> Figures | None:
    """The rival's figures on the same data under the same extractor, taken now if need be."""
    metric = gates.better_than_champion
    if rival is None or metric is None:
        return None
    recorded = rival.figures_beside(evaluation)
    if recorded is not None and metric in recorded:
        return recorded
    return measure(rival, metric)
