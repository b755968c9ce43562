"""Kinds of content. To add one: a module with a class that keeps the contract, and a line here."""

from __future__ import annotations

import pyarrow as pa
from torch import Tensor

from aigc.errors import DataError
from aigc.layout import Layout
from aigc.modalities.contract import Modality
from aigc.modalities.image import ImageModality
from aigc.modalities.text import TextModality

MODALITIES: dict[str, Modality] = {"image": ImageModality(), "text": TextModality()}


def modality(name: str) -> Modality:
    """The modality of that name. Raises DataError."""
    if name not in MODALITIES:
        raise DataError(
            f"there is no modality {name!r}", f"The modalities are: {', '.join(MODALITIES)}"
        )
    return MODALITIES[name]


def stored_records(table: pa.Table, layout: Layout) -> Tensor:
    """The stored records of a table of that layout, (N, *shape); without a copy of the column where
    it is in one piece. Raises ValueError."""
    content = modality(layout.modality)
    column = table.column(content.column_name)
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return content.from_column(whole, layout)
