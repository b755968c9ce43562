"""Evaluation: a model's or a dataset's figures under one extractor, against held-out data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aigc.data.catalog import Dataset, find
from aigc.errors import ModelError
from aigc.generation.plan import GENERATED
from aigc.generation.sampling import make_samples
from aigc.metrics import Evidence, Features, extract, needed, score
from aigc.metrics.frechet import frechet_distance
from aigc.modalities import modality
from aigc.models.artifact import load_model
from aigc.models.classifier import Classifier
from aigc.models.contract import Model
from aigc.models.vae import VAE
from aigc.seeding import Draws, derive

BATCH = 500


@dataclass(frozen=True)
class EvaluationRequest:
    """What to judge: a model's samples, or the generated dataset in `generated` if it is given.

    `model` and `extractor` are folders that hold the artifacts.
    """

    datasets: Path
    dataset: str
    model: Path
    extractor: Path
    metrics: tuple[str, ...]
    seed: int = 0
    generated: Dataset | None = None


@dataclass(frozen=True)
class Evaluation:
    """Figures by metric, and the whole protocol beside them.

    `floor` is the Fréchet distance of the training split itself to the held-out split: what a
    model that drew from the data would score.
    """

    figures: dict[str, float]
    floor: float
    dataset: str
    dataset_digest: str
    extractor_digest: str
    samples: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored and shown."""
        return dict(vars(self))


def evaluate_worker(request: EvaluationRequest) -> Evaluation:
    """Judge on one worker. Raises MetricUnknown, DataError, ModelError."""
    dataset = find(request.datasets, request.dataset)
    artifact, extractor = load_model(request.model), load_model(request.extractor)
    if not isinstance(extractor.model, Classifier):
        raise ModelError(
            f"{request.extractor} is no classifier",
            "Name a model of the family classifier as evaluation.extractor",
        )
    held_out = features_of(dataset, "test", extractor.model)
    training = features_of(dataset, "train", extractor.model)
    generated = _generated(request, artifact.model, extractor.model)
    evidence = Evidence(generated, held_out, training, _elbo(artifact.model, dataset, request.seed))
    return Evaluation(
        figures=score(request.metrics, evidence),
        floor=frechet_distance(training.features, held_out.features),
        dataset=dataset.reference,
        dataset_digest=dataset.manifest.digest,
        extractor_digest=extractor.digest,
        samples=len(generated.features),
        seed=request.seed,
    )


def features_of(dataset: Dataset, split: str, extractor: Classifier) -> Features:
    """The features of a split, in its stored order."""
    stored = dataset.records(split).stored
    decode = modality(dataset.manifest.layout.modality).decode
    return extract(extractor, (decode(part) for part in torch.split(stored, BATCH)))


def _generated(request: EvaluationRequest, model: Model, extractor: Classifier) -> Features:
    if request.generated is not None:
        return features_of(request.generated, GENERATED, extractor)
    count, classes = needed(request.metrics), model.layout.classes
    if not count:
        return extract(extractor, [])
    made = make_samples(
        model,
        range(count),
        lambda sample: derive(request.seed, "evaluation", sample),
        lambda sample: sample % classes if classes else None,
    )
    return extract(extractor, [modality(model.layout.modality).decode(made.stored)])


def _elbo(model: Model, dataset: Dataset, seed: int) -> Callable[[], float] | None:
    """The mean evidence lower bound of a held-out record, in nats, if the model has one."""
    if not isinstance(model, VAE):
        return None

    @torch.inference_mode()
    def bound() -> float:
        held_out = dataset.records("test")
        decode = modality(dataset.manifest.layout.modality).decode
        total = 0.0
        for start in range(0, len(held_out.stored), BATCH):
            part = held_out.take(slice(start, start + BATCH))
            bounds = model.elbo(decode(part.stored), part.labels, Draws(seed, start))
            total += bounds.double().sum().item()
        return total / len(held_out.stored)

    return bound
