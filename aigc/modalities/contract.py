"""What every kind of content promises to the stream, to the models and to the reports."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa
from PIL import Image
from torch import Tensor

from aigc.layout import Layout


class Modality(Protocol):
    """How records are stored, handed to a model, and shown to a person.

    "Stored" tensors have the dtype on disk, uint8 for images and text. What models see is the
    modality's own: float32 in [−1, 1] for what is continuous, as images; int64 for tokens, as text.
    `padding` is the stored byte that fills up records of less content; None where there is none.
    """

    column_name: str
    padding: int | None

    def column_type(self, layout: Layout) -> pa.DataType:
        """The Arrow type of the stored column."""

    def to_column(self, stored: Tensor) -> pa.Array:
        """Stored records (N, *shape) as an Arrow array of N values."""

    def from_column(self, column: pa.Array, layout: Layout) -> Tensor:
        """The stored records of an Arrow column, (N, *shape). Raises ValueError."""

    def decode(self, stored: Tensor) -> Tensor:
        """Stored records as a model's input, of the same shape: float32 in [−1, 1], or int64."""

    def encode(self, samples: Tensor) -> Tensor:
        """A model's output, of the kind `decode` returns, as the nearest stored records."""

    def sheet(self, stored: Tensor, columns: int = 10) -> Image.Image:
        """A contact sheet of the records, row by row."""

    def transcript(self, stored: Tensor) -> str | None:
        """What the records say, to be read beside their sheet; None for content without words."""

    def is_blank(self, stored: Tensor) -> Tensor:
        """Which records hold nothing: one value throughout, or no visible character. Bool, (N,)."""
