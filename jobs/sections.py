"""The sections that jobs are made of, and what their fields may hold."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from aigc.config import Config
from aigc.data.manifest import NAME, VERSION
from aigc.data.stream import StreamConfig
from aigc.errors import MetricUnknown
from aigc.generation.labels.label import Text
from aigc.metrics import parse
from cluster.judgement import Gates
from jobs.errors import shortened

FOLDER = r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9._=-]*)*"
"""Of a bucket. There is no room in it for credentials."""
DATASET = rf"{NAME}(@{VERSION})?"
MODEL = rf"{NAME}@(champion|challenger|[1-9][0-9]*)"


def _folder_of_a_bucket(text: str) -> str:
    # What is no such folder may hold a secret, and is not quoted.
    if text and not re.fullmatch(FOLDER, text):
        raise ValueError(
            "must be a folder of a bucket as s3://bucket/folder; credentials and the endpoint are "
            "taken from the environment"
        )
    return text


def _path_of_a_file(text: str) -> str:
    # What is no path may be the secret itself, and is not quoted.
    if not text.startswith(("/", "~/")) or not text.isprintable() or "-----" in text:
        raise ValueError(
            "must be the path of a PEM file, from / or ~/ on; no key has its place in a spec"
        )
    return text


def is_not_said(value: object) -> bool:
    """Of a field that came later: specs without it keep their digests."""
    return value is None or value == ""


def _matching(pattern: str, message: str) -> AfterValidator:
    """A text must match `pattern` as a whole; `message` says to people what that is."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {message} (got {shortened(text)})")
        return text

    return AfterValidator(check)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$"})


def _known_metric(name: str) -> str:
    try:
        parse(name)
    except MetricUnknown as error:
        raise ValueError(str(error)) from error
    return name


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"must name each metric once, and has {', '.join(twice)} more than once")
    return names


Name = Annotated[str, _matching(NAME, "up to 40 of a–z, 0–9 and -, the first no -"), _pattern(NAME)]
DatasetReference = Annotated[
    str, _matching(DATASET, "a dataset as NAME or NAME@VERSION"), _pattern(DATASET)
]
ModelReference = Annotated[
    str,
    _matching(MODEL, "a registered model as NAME@champion, NAME@challenger or NAME@NUMBER"),
    _pattern(MODEL),
]
Folder = Annotated[
    str,
    AfterValidator(_folder_of_a_bucket),
    WithJsonSchema({"type": "string", "pattern": f"^({FOLDER})?$"}),
]
PathOfFile = Annotated[
    str,
    AfterValidator(_path_of_a_file),
    WithJsonSchema({"type": "string", "pattern": "^(/|~/)[^\\n]*$"}),
]
Metrics = Annotated[
    tuple[Annotated[str, AfterValidator(_known_metric)], ...], AfterValidator(_each_once)
]


class Data(Config):
    """A dataset by name, which means its newest version, or by name and version."""

    dataset: DatasetReference


class TrainingData(Data):
    """What is trained on, and how it is read.

    `mixture` gives other datasets of the same layout their shares of every batch. `damaged` says
    what happens to row groups that cannot be read: the job fails when it comes to one, or it
    trains on versions of the datasets without them, for which they are verified first.
    """

    mixture: dict[DatasetReference, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict
    )
    stream: StreamConfig = StreamConfig()
    damaged: Literal["refuse", "quarantine"] = "refuse"


class Evaluation(Config):
    """What is measured. `extractor` is the name of a registered classifier.

    Without one, figures are taken in the features of the classifier that the seeded recipe
    trains on the same dataset, if there are figures of samples: likelihoods need no classifier.
    """

    metrics: Metrics = ()
    extractor: Name | None = None


class GenerationEvaluation(Evaluation):
    """What is measured of generated samples, by default against what the model was trained on."""

    data: Data | None = None


class Registry(Config):
    """The registered model that receives the version, and what it must show to be champion."""

    model: Name
    promote: Gates | None = None


class Signing(Config):
    """Two PEM files, by their paths: the `certificates`, the signer's first and the root last, and
    the signer's private `key`, which nobody else may read."""

    certificates: PathOfFile
    key: PathOfFile


class Publish(Config):
    """The dataset that a generation becomes, and whom its labels name as the producer. Once it is
    published in the workspace, it is also put into `to`, a folder of an S3-compatible store. With a
    `signature`, each media file that leaves the dataset is signed as C2PA says.
    """

    dataset: Name
    producer: Text = Field(default="", exclude_if=is_not_said)
    to: Folder = Field(default="", exclude_if=is_not_said)
    signature: Signing | None = Field(default=None, exclude_if=is_not_said)


class Screening(Config):
    """What a sample has to pass to be in the dataset. One that is blank, copies what the model was
    trained on (`memorisation`), or nearly repeats another one, of the last `nights` datasets too,
    is made again from its next seed: at most `budget` times as many as were asked for.
    """

    memorisation: bool = True
    nights: int = Field(default=7, ge=0, le=366)
    budget: float = Field(default=0.1, ge=0, le=10)
