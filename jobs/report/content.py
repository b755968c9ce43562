"""What a report knows. Plain data: the page shows it, and report.json keeps it.

Whatever has a default is left out of the page where it is None or empty: nobody has found it out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypedDict

from jobs.economics import UnitEconomics

FORMAT = 2
"""Of report.json. The first one had no more than Report's fields without a default."""


@dataclass(frozen=True)
class Picture:
    """A PNG. `width` and `height` are in pixels."""

    png: bytes
    width: int
    height: int


Shown = Picture | str
"""A sample as a person sees it: its picture, or its words."""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet. `width` and `height` are the picture's, in pixels.

    Sheets of one `group` stand beside one another under its name, as those of the same seeds.
    """

    title: str
    caption: str
    png: bytes
    width: int
    height: int
    group: str = ""


class TrainingData(TypedDict):
    """The dataset that a model learned from, as NAME@VERSION, and the digest of its content."""

    dataset: str
    digest: str


class ModelOrigin(TypedDict):
    """A registered version, and what it came from. `code` is of the program that trained it."""

    name: str
    version: int
    digest: str
    run_id: str
    family: str
    trained_on: TrainingData | None
    code: str | None


class ShardEntry(TypedDict):
    """A file of the dataset."""

    path: str
    records: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Funnel:
    """From candidates to samples.

    `wanted` samples were planned and `made` candidates made, at most `budget` more than that.
    `rejected` counts candidates by reason; `replaced` of the `accepted` samples are not from their
    first seed.
    """

    wanted: int
    made: int
    rejected: Mapping[str, int]
    replaced: int
    accepted: int
    budget: int

    @property
    def missing(self) -> int:
        """Samples for which the budget did not last."""
        return self.wanted - self.accepted


@dataclass(frozen=True)
class Rejected:
    """A candidate that is not in the dataset: the sample it was for, which attempt, and why not."""

    sample: int
    attempt: int
    reason: str
    shown: Shown


@dataclass(frozen=True)
class Pair:
    """A sample beside the record of the training data that is nearest to it.

    `neighbour` is that record's number in its split, those of what was mixed in coming after the
    others; `distance` is how far apart they are as they were compared. `copied` says whether that
    is near enough to be called a copy.
    """

    sample: int
    neighbour: int
    distance: float
    copied: bool
    shown: Shown
    nearest: Shown


@dataclass(frozen=True)
class Copying:
    """Whether the training data were copied.

    `compared_with` names the records that every one of `checked` samples was compared with, `rule`
    says what is called a copy. `rejected` copies were left out, `kept` ones are in the dataset.
    `pairs` are worth looking at, the nearest first.
    """

    compared_with: str
    rule: str
    checked: int
    rejected: int
    kept: int = 0
    pairs: Sequence[Pair] = ()


@dataclass(frozen=True)
class Passage:
    """The words of a sample. `copied` are spans of it, from and until a character, in order and
    apart, that stand in the training data word for word."""

    sample: int
    text: str
    copied: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Incident:
    """What went otherwise than planned: in a few words, in a sentence, and how often."""

    what: str
    said: str
    count: int = 1


@dataclass(frozen=True)
class Labelling:
    """The label that says that a machine made it.

    `standards` are what it follows, `producer` who it names, `places` where it is by kind of file,
    `checked` how many were read back. `read` are commands that show it.
    """

    standards: Sequence[str]
    producer: str
    places: Mapping[str, str]
    checked: int
    read: Sequence[str] = ()


@dataclass(frozen=True)
class Night:
    """An earlier night of the dataset, as its report.json has it, or as much of that as is there.

    `figures` are those that were numbers; `accepted` counts its samples; `economics` is as
    `UnitEconomics.as_dict` has it. `gated` names the figures that its gates looked at, each once;
    `why` is the reason of a quarantine, empty otherwise; `protocol`
    are the digests of the held-out data and of the extractor, None if nothing was evaluated.
    """

    dataset: str
    created: str
    published: bool
    figures: Mapping[str, float]
    accepted: int | None = None
    economics: Mapping[str, Any] = field(default_factory=dict)
    copies: int | None = None
    gated: Sequence[str] = ()
    why: str = ""
    protocol: tuple[str, str | None] | None = None

    @property
    def version(self) -> str:
        """The version of the dataset, which names its folder."""
        return self.dataset.partition("@")[2]


@dataclass(frozen=True)
class Report:
    """What is known about a generated dataset, published or not.

    `dataset` is NAME@VERSION, `created` ISO 8601 with offset. `verdict`, `evaluation` and `plan`
    are as `Verdict.as_dict`, `Evaluation.as_dict` and `Plan.model_dump(mode="json")` have them;
    `figures` holds every figure, gated or not. `seconds` says how long each part took, and
    `reproduce` lists the commands that make the dataset again.

    `champion` are the figures of the model's own evaluation, `nights` the earlier nights of the
    dataset, newest last. `incidents` is empty if there were none, None if nobody looked.
    """

    dataset: str
    submission: str
    created: str
    published: bool
    verdict: dict[str, Any]
    figures: dict[str, float]
    evaluation: dict[str, Any] | None
    plan: dict[str, Any]
    model: ModelOrigin
    sheets: Sequence[Sheet]
    seconds: dict[str, float]
    shards: Sequence[ShardEntry]
    reproduce: Sequence[str]
    champion: Mapping[str, float] | None = None
    nights: Sequence[Night] = ()
    funnel: Funnel | None = None
    rejected: Sequence[Rejected] = ()
    copying: Copying | None = None
    passages: Sequence[Passage] = ()
    economics: UnitEconomics | None = None
    labelling: Labelling | None = None
    incidents: Sequence[Incident] | None = None

    @property
    def accepted(self) -> int:
        """How many samples the dataset has."""
        return self.funnel.accepted if self.funnel else int(self.plan["count"])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: no pictures, and null where a figure is no number."""
        return {"format": FORMAT, **plain(self)}


def plain(value: Any) -> Any:
    """The same value as JSON can hold it: a picture becomes its size, what is no number null."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        return plain({name: part for name, part in named.items() if not isinstance(part, bytes)})
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
