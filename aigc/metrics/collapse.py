"""Whether a model in training still makes more than a few things, told from pixels alone.

No extractor is trained for it: samples and records are compared as they are, flattened.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from aigc.config import Config
from aigc.metrics.coverage import recall
from aigc.metrics.distances import nearest_rows
from aigc.metrics.diversity import class_balance_max, class_balance_min


class CollapseConfig(Config):
    """When the samples of a model in training count as collapsed.

    From step `after` on, `samples` of them are compared with as many records. `recall_at_least`:
    the share of records that lie among the samples. `class_share_at_most`: of the samples, by
    their nearest record. `accuracy_at_most`: how often D is right, on average since the last
    comparison; 1 asks for nothing. `stop`: end the training with an error, not with a warning.
    """

    after: int = Field(default=500, ge=0)
    samples: int = Field(default=500, ge=50, le=10_000)
    recall_at_least: float = Field(default=0.02, ge=0, le=1)
    class_share_at_most: float = Field(default=0.8, gt=0, le=1)
    accuracy_at_most: float = Field(default=1.0, gt=0, le=1)
    stop: bool = False


def collapse_figures(generated: Tensor, real: Tensor, labels: Tensor | None) -> dict[str, float]:
    """`recall` of samples (N, …) among records (M, …), both in [−1, 1] and more than 5 of each.

    With labels of the records, int64 (M,), of more than one class, also `class_balance_min` and
    `class_balance_max`: the shares of the rarest and the most frequent class, a sample having its
    nearest record's.
    """
    generated, real = generated.flatten(1), real.flatten(1)
    figures = {"recall": recall(generated, real)}
    if labels is not None and bool(labels.min() < labels.max()):
        one_hot = functional.one_hot(labels)[nearest_rows(generated, real)]
        figures["class_balance_min"] = class_balance_min(one_hot)
        figures["class_balance_max"] = class_balance_max(one_hot)
    return figures


def judge_collapse(figures: Mapping[str, float], limits: CollapseConfig) -> str | None:
    """Why these figures are those of a collapse, or None. What was not measured is no reason."""
    if figures["recall"] < limits.recall_at_least:
        return f"recall is {figures['recall']:.3f}, below {limits.recall_at_least:g}"
    share = figures.get("class_balance_max", 0.0)
    if share > limits.class_share_at_most:
        return f"one class has {share:.3f} of the samples, above {limits.class_share_at_most:g}"
    accuracy = figures.get("accuracy", 0.0)
    if accuracy > limits.accuracy_at_most:
        return f"D's accuracy is {accuracy:.3f}, above {limits.accuracy_at_most:g}"
    return None
