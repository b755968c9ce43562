"""Tables: the label in the metadata of the schema, and that of each sample in a column of its own,
so that a row that is taken out of the table is labelled still.

The standard says nothing of Parquet and Arrow; both keep metadata and columns as they are.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from aigc.data.shards import SAMPLE
from aigc.errors import LabelMalformed, Unlabelled
from aigc.generation.labels.label import AIGC, Label

LABEL_FIELD = pa.field(AIGC, pa.string(), nullable=False)
"""The column of the samples' labels, each the standard's JSON object."""


def label_table(table: pa.Table, label: Label) -> pa.Table:
    """A table of samples of a generated dataset, with the dataset's `label` and the samples'."""
    texts = label.texts(table.column(SAMPLE))
    metadata = {**(table.schema.metadata or {}), AIGC: f'{{"{AIGC}":{label.as_json()}}}'}
    labelled = table.append_column(LABEL_FIELD, texts)
    return labelled.replace_schema_metadata(metadata)


def table_label(table: pa.Table) -> Label:
    """The dataset's label of a table with the columns `sample` and `AIGC`, as it was read back.

    Raises Unlabelled, LabelMalformed when a sample's label is missing, or is not its own.
    """
    label = _dataset_label(table.schema)
    for name in (SAMPLE, AIGC):
        if table.column_names.count(name) != 1:
            raise Unlabelled(f"the table has no one column {name!r}", "Label it anew")
    own, others = label.texts(table.column(SAMPLE)), table
    if table.column(AIGC).type == own.type:
        # As it was written it needs no parser, which would take most of the time.
        others = table.filter(pc.not_equal(table.column(AIGC), own).fill_null(True))
    texts, samples = others.column(AIGC).to_pylist(), others.column(SAMPLE).to_pylist()
    for sample, text in zip(samples, texts, strict=True):
        if not text:
            raise Unlabelled(f"sample {sample} has no label", "Label the table anew")
        if Label.from_json(text) != label.of_sample(sample):
            raise LabelMalformed(
                f"the label of sample {sample} is that of something else", "Label the table anew"
            )
    return label


def _dataset_label(schema: pa.Schema) -> Label:
    content = (schema.metadata or {}).get(AIGC.encode())
    if content is None:
        raise Unlabelled(f"the table's schema has no metadata {AIGC}", "Label the table")
    before, after = f'{{"{AIGC}":'.encode(), b"}"
    if not (content.startswith(before) and content.endswith(after)):
        raise LabelMalformed(
            f"the metadata {AIGC} of the table's schema is no label", "Label the table anew"
        )
    return Label.from_json(content[len(before) : -len(after)])
