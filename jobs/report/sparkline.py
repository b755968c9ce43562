"""A figure over the nights, as a small line with the same in words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from jobs.report.words import short

WIDTH, HEIGHT, MARGIN = 180, 40, 5


def sparkline(name: str, values: Sequence[float | None]) -> Markup:
    """The values, oldest first, as inline SVG; None leaves a gap. The last one has a dot."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup('<span class="muted">no figure</span>')
    low, high = min(known), max(known)
    points = [
        (_across(at, len(values)), _up(value, low, high))
        for at, value in enumerate(values)
        if value is not None
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<polyline points="{}"></polyline><circle cx="{:.1f}" cy="{:.1f}" r="3"></circle></svg>'
        '<span class="says">{}</span>'
    )
    sizes = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    between = f"{short(low)} to {short(high)}" if low < high else short(low)
    return drawn.format(in_words(name, known), *sizes, line, *points[-1], between)


def in_words(name: str, known: Sequence[float]) -> str:
    """What the line shows, for who does not see it."""
    first, last, low, high = map(short, (known[0], known[-1], min(known), max(known)))
    if len(known) == 1:
        return f"{name}: one night, {last}"
    return f"{name} over {len(known)} nights: from {first} to {last}, between {low} and {high}"


def _across(at: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * (at / (count - 1) if count > 1 else 1)


def _up(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share
