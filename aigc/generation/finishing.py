"""A shard as it is published: each sample with the hash of its media file, and with its label."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pyarrow as pa
from torch import Tensor

from aigc.data.shards import SAMPLE
from aigc.generation.labels.label import Label
from aigc.generation.labels.tables import LABEL_FIELD, label_table, table_label
from aigc.generation.media import MediaFile, labelled, media_files
from aigc.generation.plan import Plan
from aigc.generation.sampling import generated_schema
from aigc.generation.scores import SCORES
from aigc.layout import Layout
from aigc.modalities import stored_records
from aigc.seeding import Integers

MEDIA = pa.field("media_sha256", pa.binary(32), nullable=False)
"""The hash of the media file of a sample, which can be made again from its record."""


def published_schema(plan: Plan) -> pa.Schema:
    """The columns of the dataset that a plan makes."""
    scores = SCORES if plan.screening else ()
    return pa.schema([*generated_schema(plan.layout), *scores, MEDIA, LABEL_FIELD])


def finished(table: pa.Table, plan: Plan) -> pa.Table:
    """The table of samples, labelled; each label was read back from the sample's media file.

    Raises Unlabelled: without a label nothing is published.
    """
    files = itertools.chain.from_iterable(labelled(*_records(table, plan)))
    hashes = [hashlib.sha256(file).digest() for file in files]
    whole = label_table(table.append_column(MEDIA, pa.array(hashes, MEDIA.type)), label(plan))
    table_label(whole)
    return whole


def media(table: pa.Table, plan: Plan) -> Iterator[MediaFile]:
    """The media file of each sample of the table, with its label inside."""
    return media_files(*_records(table, plan))


def _records(table: pa.Table, plan: Plan) -> tuple[Tensor, Layout, Label, Integers]:
    """What a media file is made of: stored records, layout, the dataset's label, and ids."""
    stored, ids = stored_records(table, plan.layout), table.column(SAMPLE).to_numpy()
    return stored, plan.layout, label(plan), ids


def label(plan: Plan) -> Label:
    """The label of the dataset that a plan makes."""
    return Label.of_dataset(plan.producer, f"{plan.dataset}@{plan.version}")
