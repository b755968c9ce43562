"""Kinds of content. To add one: a module with a class that keeps the contract, and a line here."""

from __future__ import annotations

from aigc.errors import DataError
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
