"""Arrow columns of images and labels, as batches: what Hugging Face, Ray and the scan share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from streams.sources import Shape, Source


def table_of(source: Source, start: int, stop: int) -> pa.Table:
    """Rows `start` to `stop`: the image as `fixed_size_binary`, the label as int64."""
    images = np.ascontiguousarray(source.images[start:stop])
    width, count = images[0].size, len(images)
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), count, [None, pa.py_buffer(images)]
    )
    return pa.table({"image": column, "label": pa.array(source.labels[start:stop])})


def batch_of(batch: pa.Table | pa.RecordBatch, shape: Shape) -> tuple[Tensor, Tensor]:
    """uint8 (B, *shape), a view where the column is one chunk, and int64 labels (B,)."""
    images, labels = batch.column("image"), batch.column("label")
    if isinstance(images, pa.ChunkedArray):
        images = images.chunk(0) if images.num_chunks == 1 else pa.concat_arrays(images.chunks)
    width = images.type.byte_width
    start, size = images.offset * width, len(images) * width
    pixels = np.frombuffer(images.buffers()[1], np.uint8, size, start)
    numbers = labels.to_numpy().astype("int64", copy=False)
    return torch.from_numpy(pixels).view(-1, *shape), torch.from_numpy(numbers)
