"""Images: uint8 (channels, height, width), stored as `fixed_size_binary`.

The shape stands in the schema's metadata.
"""

from __future__ import annotations

import math

import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from aigc.layout import Layout
from aigc.modalities.columns import binary_column, raw_tensor
from aigc.modalities.image_files import in_shape, read_image

SHEET_PIXELS = 84
"""An image on a contact sheet is enlarged by whole factors to about this many pixels."""

MINUS_ONE = torch.tensor(-1.0)
PER_LEVEL = float.fromhex("0x1.0101p-7")
"""The float32 below 2 / 255: with the one above it, white would be 1.0000001."""

BINARY = (pa.types.is_fixed_size_binary, pa.types.is_binary, pa.types.is_large_binary)


class ImageModality:
    """The contract of `aigc.modalities.contract.Modality` for images."""

    column_name = "image"
    padding: int | None = None

    def column_type(self, layout: Layout) -> pa.DataType:
        """`fixed_size_binary` of channels × height × width bytes."""
        return pa.binary(layout.size)

    def to_column(self, stored: Tensor) -> pa.Array:
        """uint8 (N, C, H, W) as N binary values, without a copy of contiguous input."""
        return binary_column(stored)

    def from_column(self, column: pa.Array, layout: Layout) -> Tensor:
        """uint8 (N, C, H, W), without a copy when the column holds raw pixels.

        Raw pixels are `fixed_size_binary`, or fixed-size lists or tensors of uint8; `binary` and
        `struct<bytes, …>` hold image files, which Pillow decodes. Raises ValueError.
        """
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_fixed_size_list(column.type):
            return raw_tensor(column.flatten(), len(column), layout)
        if pa.types.is_fixed_size_binary(column.type):
            return raw_tensor(column, len(column), layout)
        return _decoded(column, layout)

    def decode(self, stored: Tensor) -> Tensor:
        """0 … 255 → −1 … 1."""
        return torch.add(MINUS_ONE, stored, alpha=PER_LEVEL)

    def encode(self, samples: Tensor) -> Tensor:
        """−1 … 1 → 0 … 255, clamped and rounded half to even."""
        return samples.add(1).mul_(255 / 2).round_().clamp_(0, 255).to(torch.uint8)

    def sheet(self, stored: Tensor, columns: int = 10) -> Image.Image:
        """The images in rows of `columns`, enlarged by a whole factor, on a grey ground."""
        count, channels, height, width = stored.shape
        scale = max(1, SHEET_PIXELS // max(height, width))
        gap, rows = 2, math.ceil(count / columns)
        cells = torch.full(
            (channels, rows * (height + gap) + gap, columns * (width + gap) + gap),
            96,
            dtype=torch.uint8,
        )
        for index, image in enumerate(stored):
            top = gap + (index // columns) * (height + gap)
            left = gap + (index % columns) * (width + gap)
            cells[:, top : top + height, left : left + width] = image
        picture = Image.fromarray(cells.permute(1, 2, 0).squeeze(-1).numpy())
        size = (picture.width * scale, picture.height * scale)
        return picture.resize(size, Image.Resampling.NEAREST)

    def transcript(self, stored: Tensor) -> str | None:
        """None: images say nothing."""
        return None

    def is_blank(self, stored: Tensor) -> Tensor:
        """Images of one single colour."""
        channels = stored.flatten(2)
        return (channels.amin(2) == channels.amax(2)).all(1)


def can_hold_images(kind: pa.DataType) -> bool:
    """Whether an Arrow column of that type can be read as images."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return bool(kind.value_type == pa.uint8())
    if pa.types.is_fixed_size_list(kind):
        return bool(kind.value_type == pa.uint8())
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return any(is_kind(kind) for is_kind in BINARY)


def shape_of(column: pa.Array) -> tuple[int, ...]:
    """(channels, height, width) of the first image file of a column. Raises ValueError."""
    file = _files(column)[0]
    if not file.is_valid:
        raise ValueError("the first value is null")
    return read_image(file.as_buffer()).shape


def _decoded(column: pa.Array, layout: Layout) -> Tensor:
    """Image files in memory as uint8 (N, C, H, W). Raises ValueError, naming the row."""
    stored = torch.empty((len(column), *layout.shape), dtype=torch.uint8)
    for row, file in enumerate(_files(column)):
        try:
            if not file.is_valid:
                raise ValueError("it is null")
            image = in_shape(read_image(file.as_buffer()), layout.shape)
        except ValueError as error:
            raise ValueError(f"value {row}: {error}") from error
        stored.numpy()[row] = image
    return stored


def _files(column: pa.Array) -> pa.Array:
    return column.field("bytes") if pa.types.is_struct(column.type) else column
