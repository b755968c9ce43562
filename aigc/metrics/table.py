"""The metrics that can be asked for. Adding one is a function and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from aigc.metrics.coverage import NEIGHBOURS, coverage, density, precision, recall
from aigc.metrics.diversity import class_balance_max, class_balance_min, inception_score
from aigc.metrics.features import Evidence
from aigc.metrics.frechet import frechet_distance
from aigc.metrics.kernel import kernel_distance
from aigc.metrics.likelihood import elbo, log_likelihood, nats_per_byte
from aigc.metrics.memorisation import neighbour_ratio


@dataclass(frozen=True)
class Metric:
    """One figure: how it is computed, which way is better, and what it says.

    `least` is the fewest generated and held-out records that define it; 0 for a metric of the
    model's likelihood, which looks at no samples, so that its name carries no count.
    """

    compute: Callable[[Evidence], float]
    better: Literal["lower", "higher"]
    least: int
    description: str

    @property
    def needs_count(self) -> bool:
        """Whether its name says how many samples it looks at."""
        return self.least > 0


def _features(compare: Callable[[Tensor, Tensor], float]) -> Callable[[Evidence], float]:
    return lambda evidence: compare(evidence.generated.features, evidence.held_out.features)


def _probabilities(judge: Callable[[Tensor], float]) -> Callable[[Evidence], float]:
    return lambda evidence: judge(evidence.generated.probabilities)


def _neighbour_ratio(evidence: Evidence) -> float:
    generated, held_out = evidence.generated.features, evidence.held_out.features
    return neighbour_ratio(generated, held_out, evidence.training.features)


METRICS: dict[str, Metric] = {
    "frechet": Metric(
        _features(frechet_distance), "lower", 2, "Fréchet distance to the held-out split"
    ),
    "kernel": Metric(
        _features(kernel_distance), "lower", 2, "kernel distance to the held-out split, unbiased"
    ),
    "coverage": Metric(
        _features(coverage), "higher", NEIGHBOURS + 1, "share of held-out records that are reached"
    ),
    "recall": Metric(
        _features(recall), "higher", NEIGHBOURS + 1, "share of held-out records among the samples"
    ),
    "density": Metric(
        _features(density), "higher", NEIGHBOURS + 1, "how deep samples lie among held-out records"
    ),
    "precision": Metric(
        _features(precision),
        "higher",
        NEIGHBOURS + 1,
        "share of samples among held-out records; 1 for a collapsed model, so never alone",
    ),
    "inception_score": Metric(
        _probabilities(inception_score), "higher", 1, "confident and varied classes, at most all"
    ),
    "class_balance_min": Metric(
        _probabilities(class_balance_min), "higher", 1, "share of the rarest predicted class"
    ),
    "class_balance_max": Metric(
        _probabilities(class_balance_max), "lower", 1, "share of the most frequent predicted class"
    ),
    "neighbour_ratio": Metric(
        _neighbour_ratio, "higher", 1, "distance to the training data; below 1 hints at copying"
    ),
    "elbo": Metric(
        lambda evidence: elbo(evidence.likelihood),
        "higher",
        0,
        "bound on the nats of a held-out record, from one draw of the latents",
    ),
    "log_likelihood": Metric(
        lambda evidence: log_likelihood(evidence.likelihood),
        "higher",
        0,
        "nats of a held-out record; a VAE's from 200 importance-weighted draws",
    ),
    "nats_per_byte": Metric(
        lambda evidence: nats_per_byte(evidence.likelihood),
        "lower",
        0,
        "nats of the held-out records over their bytes without padding",
    ),
}
