"""How long to train, on how much at a time, and how often to say so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aigc.config import Config
from aigc.metrics.collapse import CollapseConfig


class ExecutionConfig(Config):
    """How the arithmetic is done.

    `precision`: of products and convolutions; with "bfloat16" weights, sums and optimizers stay
    float32 (autocast). `compile`: by torch.compile, which takes a minute at the start and needs a
    C++ compiler. `channels_last`: images with the channels of a pixel side by side, which
    convolutions on tensor cores like.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    channels_last: bool = False


class TrainingConfig(Config):
    """The loop's settings; every interval is counted in steps.

    `batch_size`: records of one step over all workers together. `accumulate`: parts in which each
    worker takes its share of them, one after the other: the memory of a part, the gradients of the
    whole. `seed`: of the weights, the order
    of the records and every draw. `report_every`: metrics. `sample_every`: a picture of samples.
    `checkpoint_every`: what a resumed attempt can lose at most. `collapse`: what to look for in the
    samples of every picture.
    """

    steps: int = Field(default=2000, gt=0)
    batch_size: int = Field(default=128, gt=0)
    accumulate: int = Field(default=1, gt=0)
    seed: int = Field(default=0, ge=0)
    report_every: int = Field(default=25, gt=0)
    sample_every: int = Field(default=500, gt=0)
    checkpoint_every: int = Field(default=500, gt=0)
    execution: ExecutionConfig = ExecutionConfig()
    collapse: CollapseConfig | None = None
