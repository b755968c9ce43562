"""Evaluation: a model's or a dataset's figures under one extractor, against held-out data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigc.data.catalog import Dataset, find
from aigc.errors import ModelError
from aigc.generation.plan import GENERATED, classes_of
from aigc.generation.sampling import make_samples
from aigc.metrics import (
    METRICS,
    Evidence,
    Features,
    Likelihood,
    extract,
    likelihoods,
    needed,
    parse,
    score,
)
from aigc.metrics.frechet import frechet_distance
from aigc.modalities import modality
from aigc.models.artifact import Artifact, load_model
from aigc.models.classifier import Classifier
from aigc.models.contract import Model
from aigc.seeding import Draws, derive_many
from aigc.seeds import derive

BATCH = 500


@dataclass(frozen=True)
class EvaluationRequest:
    """What to judge: a model's samples, or the generated dataset in `generated` if it is given.

    `model` and `extractor` are folders that hold the artifacts. Likelihoods need no extractor.
    On a GPU the last digits of a figure are others than on a processor.
    """

    datasets: Path
    dataset: str
    model: Path
    extractor: Path | None
    metrics: tuple[str, ...]
    seed: int = 0
    generated: Dataset | None = None
    use_gpu: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Figures by metric, and the whole protocol beside them.

    `floor` is the Fréchet distance of the training split itself to the held-out split: what a
    model that drew from the data would score. It is None, as `extractor_digest`, when there was
    no extractor, and `samples` is 0.
    """

    figures: dict[str, float]
    floor: float | None
    dataset: str
    dataset_digest: str
    extractor_digest: str | None
    samples: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is stored and shown."""
        return dict(vars(self))

    def as_table(self) -> dict[str, Any]:
        """A row for each figure, in the form that MLflow keeps tables in.

        `floor` is what a model that drew from the training data would score, where it is known.
        """
        rows = [
            [name, figure, METRICS[parse(name).metric].better, self._floor(name), self._how(name)]
            for name, figure in self.figures.items()
        ]
        return {"columns": ["metric", "figure", "better", "floor", "protocol"], "data": rows}

    def _floor(self, name: str) -> float | None:
        return self.floor if parse(name).metric == "frechet" else None

    def _how(self, name: str) -> str:
        """What the figure says, of how many samples, on which data and under which extractor."""
        parsed = parse(name)
        said = [METRICS[parsed.metric].description]
        if parsed.count is not None:
            said.append(f"{parsed.count} samples of seed {self.seed}")
        said.append(f"{self.dataset} of digest {self.dataset_digest}")
        if parsed.count is not None and self.extractor_digest is not None:
            said.append(f"extractor of digest {self.extractor_digest}")
        return "; ".join(said)


def evaluate_worker(request: EvaluationRequest) -> Evaluation:
    """Judge on one worker. Raises MetricUnknown, DataError, ModelError."""
    dataset = find(request.datasets, request.dataset)
    device = torch.device("cuda" if request.use_gpu else "cpu")
    model = load_model(request.model).model.to(device)
    extractor = _extractor(request)
    evidence = _evidence(request, model, dataset, extractor)
    data = evidence.training.features, evidence.held_out.features
    return Evaluation(
        figures=score(request.metrics, evidence),
        floor=frechet_distance(*data) if extractor else None,
        dataset=dataset.reference,
        dataset_digest=dataset.manifest.digest,
        extractor_digest=extractor.digest if extractor else None,
        samples=len(evidence.generated.features),
        seed=request.seed,
    )


def features_of(dataset: Dataset, split: str, extractor: Classifier) -> Features:
    """The features of a split, in its stored order."""
    return _features(extractor, dataset.records(split).stored, dataset.manifest.layout.modality)


def _features(extractor: Classifier, stored: Tensor, modality_name: str) -> Features:
    decode, device = modality(modality_name).decode, _device_of(extractor)
    return extract(extractor, (decode(part).to(device) for part in torch.split(stored, BATCH)))


def _device_of(model: Model) -> torch.device:
    return next(model.parameters()).device


def _extractor(request: EvaluationRequest) -> Artifact | None:
    """The extractor, if there is one. Raises ModelError when a metric has to have one."""
    if request.extractor is not None:
        return load_model(request.extractor)
    if needed(request.metrics):
        raise ModelError(
            f"{', '.join(request.metrics)} look at samples, and there is no extractor to see them",
            "Name a model of the family classifier as evaluation.extractor",
        )
    return None


def _evidence(
    request: EvaluationRequest, model: Model, dataset: Dataset, extractor: Artifact | None
) -> Evidence:
    asked = likelihoods(request.metrics)
    likelihood = _likelihood(model, dataset, request.seed) if asked else None
    if extractor is None:
        return Evidence(likelihood=likelihood)
    judge = extractor.model
    if not isinstance(judge, Classifier):
        raise ModelError(
            f"{request.extractor} is no classifier",
            "Name a model of the family classifier as evaluation.extractor",
        )
    judge.to(_device_of(model))
    return Evidence(
        generated=_generated(request, model, judge),
        held_out=features_of(dataset, "test", judge),
        training=features_of(dataset, "train", judge),
        likelihood=likelihood,
    )


def _generated(request: EvaluationRequest, model: Model, extractor: Classifier) -> Features:
    if request.generated is not None:
        return features_of(request.generated, GENERATED, extractor)
    samples = range(needed(request.metrics))
    if not samples:
        return extract(extractor, [])
    seeds = derive_many(derive(request.seed, "evaluation"), samples)
    made = make_samples(model, samples, seeds, classes_of(samples, model.layout))
    return _features(extractor, made.stored, model.layout.modality)


def _likelihood(model: Model, dataset: Dataset, seed: int) -> Likelihood:
    """What the model makes of the held-out split, BATCH records at a time."""
    held_out = dataset.records("test")
    content, device = modality(dataset.manifest.layout.modality), _device_of(model)

    @torch.inference_mode()
    def nats(of: Callable[[Tensor, Tensor | None, Draws], Tensor]) -> Tensor:
        found = [torch.empty(0)]
        for start in range(0, len(held_out.stored), BATCH):
            part = held_out.take(slice(start, start + BATCH))
            labels = None if part.labels is None else part.labels.to(device)
            records = content.decode(part.stored).to(device)
            found.append(of(records, labels, Draws(seed, start)).cpu())
        return torch.cat(found)

    return Likelihood(
        bounds=lambda: nats(model.elbo),
        log_likelihoods=lambda: nats(model.log_likelihood),
        size=content_size(held_out.stored, content.padding),
    )


def content_size(stored: Tensor, padding: int | None) -> int:
    """Bytes of the stored records that are not padding."""
    content = stored.numel() if padding is None else int((stored != padding).sum())
    return content * stored.element_size()
