"""The plan of a generation: which sample comes from which seed, and which shard holds it.

Everything that follows is a function of the plan, so that whoever makes sample i, on however many
workers, in whatever shard and however often, makes the same bytes on the same software stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from aigc.config import Config
from aigc.data.files import digest_of
from aigc.layout import Layout
from aigc.seeding import Integers, derive_many
from aigc.seeds import derive

GENERATED = "generated"
"""The only split of a generated dataset."""

BATCH = 250
"""Samples computed together. A batch is always whole and begins at a multiple of its size, because
the last bit of a matrix product may depend on the rows beside it."""


class ModelReference(Config):
    """A version of a registered model, resolved once; `digest` is of its exact weights."""

    name: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Screening(Config):
    """What a sample has to pass to be in the dataset, beside not being blank.

    `memory` is the digest of what the model was trained on, which none may copy; None where that is
    not looked at. `earlier` are the datasets, NAME@VERSION, of which none may nearly repeat a
    sample. `budget` is how many samples may be made in the place of rejected ones.
    """

    memory: str | None = None
    earlier: tuple[str, ...] = ()
    budget: int = Field(ge=0)


class Plan(Config):
    """What a generation makes. Written once, before the first sample; never changed.

    `code` is the digest of the code that makes it: another version may make other bytes. `due` is
    when a schedule asked for it: every tick's dataset is a version of its own. `producer` is named
    in the label of each sample.
    """

    format: Literal[1] = 1
    dataset: str
    model: ModelReference
    layout: Layout
    count: int = Field(gt=0)
    seed: int = Field(ge=0)
    shard_size: int = Field(gt=0)
    batch: int = BATCH
    code: str
    # Absent where there is none, so that the versions of such plans stay what they are.
    due: str | None = Field(default=None, exclude_if=lambda due: due is None)
    producer: str = Field(default="", exclude_if=lambda producer: not producer)
    screening: Screening | None = Field(default=None, exclude_if=lambda found: found is None)

    @property
    def digest(self) -> str:
        """Names this plan; its first twelve digits are the dataset's version."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def version(self) -> str:
        """The version of the dataset that this plan makes."""
        return self.digest[:12]

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.shard_size)

    def samples(self, shard: int) -> range:
        """The ids of the samples in a shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    def path(self, shard: int) -> str:
        """Where a shard is, in the folder of the dataset."""
        return f"shards/{GENERATED}-{shard:05d}.parquet"

    def seeds(self, samples: Sequence[int], attempt: int = 0) -> Integers:
        """The seeds of samples, int64, (N,); of every tick of a schedule they are others.

        An `attempt` comes after so many whose samples were rejected.
        """
        seed = self.seed if self.due is None else derive(self.seed, "due", self.due)
        return sample_seeds(derive(seed, "attempt", attempt) if attempt else seed, samples)

    def classes(self, samples: Sequence[int]) -> Integers | None:
        """The classes asked for, int64, (N,); None when the dataset has no labels."""
        return classes_of(samples, self.layout)


def sample_seeds(seed: int, samples: Sequence[int]) -> Integers:
    """The seeds of samples of a generation. Neither shards nor workers enter into them."""
    return derive_many(derive(seed, "samples"), samples)


def classes_of(samples: Sequence[int], layout: Layout) -> Integers | None:
    """The classes that samples are asked for: each in turn. None where there are no labels."""
    return np.asarray(samples, np.int64) % layout.classes if layout.classes else None
