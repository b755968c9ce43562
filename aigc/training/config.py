"""How long to train, on how much at a time, and how often to say so."""

from __future__ import annotations

from pydantic import Field

from aigc.config import Config


class TrainingConfig(Config):
    """The loop's settings; every interval is counted in steps.

    `batch_size`: records of one step over all workers together. `seed`: of the weights, the order
    of the records and every draw. `report_every`: metrics. `sample_every`: a picture of samples.
    `checkpoint_every`: what a resumed attempt can lose at most.
    """

    steps: int = Field(default=2000, gt=0)
    batch_size: int = Field(default=128, gt=0)
    seed: int = Field(default=0, ge=0)
    report_every: int = Field(default=25, gt=0)
    sample_every: int = Field(default=500, gt=0)
    checkpoint_every: int = Field(default=500, gt=0)
