"""Records as a report shows them."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from aigc.layout import Layout
from aigc.modalities import modality
from jobs.report.content import Picture, Sheet, Shown


def contact_sheet(
    stored: Tensor, layout: Layout, title: str, caption: str, group: str = "", columns: int = 10
) -> Sheet:
    """Stored records (N, *shape) in rows of `columns`."""
    picture = modality(layout.modality).sheet(stored, columns)
    return Sheet(title, caption, _png(picture), picture.width, picture.height, group)


def shown(record: Tensor, layout: Layout) -> Shown:
    """One stored record (*shape): its words if it has any, or its picture."""
    content = modality(layout.modality)
    if content.padding is not None:
        said = record.numpy().tobytes().rstrip(bytes([content.padding]))
        return said.decode("utf-8", "replace")
    picture = content.sheet(record[None], 1)
    return Picture(_png(picture), picture.width, picture.height)


def extremes(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of the `count` least and of the `count` greatest distances (N,), both from the
    least on; what has no distance, NaN, is among neither."""
    known = torch.nonzero(~distances.isnan()).flatten()
    order = known[distances[known].argsort(stable=True)]
    return order[:count], order[max(0, len(order) - count) :]


def _png(picture: Image.Image) -> bytes:
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    return png.getvalue()
