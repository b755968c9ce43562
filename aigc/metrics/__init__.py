"""How good samples are: every figure is taken in the features of one fixed extractor.

A metric's name is its whole protocol: `frechet_5k` is the Fréchet distance between the first 5,000
generated samples and the held-out split. Precision says nothing on its own, since a model that
makes one perfect record scores 1: ask for it together with coverage or recall.
"""

from aigc.metrics.features import Evidence, Extractor, Features, extract
from aigc.metrics.likelihood import Likelihood
from aigc.metrics.names import MetricName, likelihoods, needed, parse
from aigc.metrics.scoring import score
from aigc.metrics.table import METRICS, Metric

__all__ = [
    "METRICS",
    "Evidence",
    "Extractor",
    "Features",
    "Likelihood",
    "Metric",
    "MetricName",
    "extract",
    "likelihoods",
    "needed",
    "parse",
    "score",
]
