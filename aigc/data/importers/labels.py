"""The names of classes."""

from __future__ import annotations

from collections.abc import Iterable


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Different labels in order: whole numbers by value, otherwise by name."""
    names = set(labels)
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))
