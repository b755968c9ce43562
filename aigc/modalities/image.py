"""Images: uint8 (channels, height, width), stored as `fixed_size_binary`.

Parquet has no 8-bit integers: a list of uint8 is stored as INT32, four times the bytes and a
tenth of the reading speed. The shape stands in the schema's metadata.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from aigc.layout import Layout

SHEET_PIXELS = 84
"""An image on a contact sheet is enlarged by whole factors to about this many pixels."""


class ImageModality:
    """The contract of `aigc.modalities.contract.Modality` for images."""

    column_name = "image"

    def column_type(self, layout: Layout) -> pa.DataType:
        """`fixed_size_binary` of channels × height × width bytes."""
        return pa.binary(layout.size)

    def to_column(self, stored: Tensor) -> pa.Array:
        """uint8 (N, C, H, W) as N binary values, without a copy of contiguous input."""
        pixels = stored.contiguous().numpy()
        width = math.prod(pixels.shape[1:])
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(pixels), [None, pa.py_buffer(pixels)]
        )

    def from_column(self, column: pa.ChunkedArray, layout: Layout) -> Tensor:
        """uint8 (N, C, H, W), without a copy when the column is one chunk."""
        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
        pixels = np.frombuffer(array.buffers()[1], dtype=np.uint8)
        start = array.offset * layout.size
        pixels = pixels[start : start + len(array) * layout.size]
        # Arrow's memory is read-only; torch warns about a tensor it might write to, so copy once.
        return torch.from_numpy(pixels.reshape(len(array), *layout.shape).copy())

    def decode(self, stored: Tensor) -> Tensor:
        """0 … 255 → −1 … 1."""
        return stored.to(torch.float32).mul_(2 / 255).sub_(1)

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

    def is_blank(self, stored: Tensor) -> Tensor:
        """Images of one single value."""
        flat = stored.flatten(1)
        return flat.amin(1) == flat.amax(1)
