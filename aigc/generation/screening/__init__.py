"""Screening: what a sample nearly repeats, and whether it copies what the model was trained on."""

from __future__ import annotations

from aigc.generation.screening.duplicates import REACH, near_duplicates
from aigc.generation.screening.fingerprints import REACHES, fingerprints, thumbnails
from aigc.generation.screening.memory import Memory, copied_spans
from aigc.generation.screening.nearest import Nearest

__all__ = [
    "REACH",
    "REACHES",
    "Memory",
    "Nearest",
    "copied_spans",
    "fingerprints",
    "near_duplicates",
    "thumbnails",
]
