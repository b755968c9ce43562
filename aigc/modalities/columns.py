"""Arrow columns of raw bytes ↔ tensors."""

from __future__ import annotations

import math

import pyarrow as pa
import torch
from torch import Tensor

from aigc.layout import Layout


def binary_column(stored: Tensor) -> pa.Array:
    """uint8 (N, *shape) as N values of `fixed_size_binary`, without a copy of contiguous input.

    Parquet has no 8-bit integers: a list of uint8 is stored as INT32, four times the bytes and a
    tenth of the reading speed.
    """
    content = stored.contiguous().numpy()
    width = math.prod(content.shape[1:])
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(content), [None, pa.py_buffer(content)]
    )


def raw_tensor(values: pa.Array, count: int, layout: Layout) -> Tensor:
    """uint8 (count, *shape) on Arrow's own memory: to be read, never to be written.

    `values` are `fixed_size_binary` of one record each, or uint8 numbers. Raises ValueError when
    they are not `count` records of that layout.
    """
    if values.null_count:
        raise ValueError("a value in it is null")
    width = values.type.byte_width
    start, size = values.offset * width, count * layout.size
    if len(values) * width != size:
        raise ValueError(f"{len(values)} × {width} bytes are not {count} × {layout.shape}")
    if count == 0:
        return torch.empty((0, *layout.shape), dtype=torch.uint8)
    content = values.buffers()[1].slice(start, size)
    # Through DLPack, because torch warns when NumPy hands it memory that is read-only.
    flat = pa.Array.from_buffers(pa.uint8(), size, [None, content])
    return torch.utils.dlpack.from_dlpack(flat).view(count, *layout.shape)


def holds_files(kind: str) -> bool:
    """Whether a column of the Arrow type of that name holds files to be decoded, not raw bytes."""
    return kind.startswith(("binary", "large_binary", "struct"))
