"""Numbers, times and sizes as the report writes them."""

from __future__ import annotations

import base64
import math
from datetime import datetime

from markupsafe import Markup

from aigc.errors import MetricUnknown
from aigc.metrics import METRICS, parse

_GENERATION = {
    "blank": "share of samples that hold one value throughout; lower is better",
    "duplicate": "share of samples that equal another sample; lower is better",
    "rejected": "share of candidates that the screening left out; lower is better",
    "copied": "share of candidates that copy a training record; lower is better",
    "repeated": "share of candidates that nearly repeat a sample; lower is better",
    "missing": "share of planned samples that the budget did not suffice for; lower is better",
}
_ACCOUNT = {
    "cpu_hours": "CPU hours",
    "gpu_hours": "GPU hours",
    "kwh": "energy in kWh",
    "per_1000_made": "per 1,000 generated",
    "per_1000_accepted": "per 1,000 accepted",
}


def says(name: str) -> str:
    """What the figure of that name says; nothing for a name that nobody described."""
    if name in _GENERATION:
        return _GENERATION[name]
    try:
        metric = METRICS[parse(name).metric]
    except MetricUnknown:
        return ""
    return f"{metric.description}; {metric.better} is better"


def account(name: str) -> str:
    """What a figure of the account is called."""
    return _ACCOUNT.get(name, name)


def short(value: float) -> str:
    """Four significant digits, and no power of ten for what is as small as a night's energy."""
    if 1e-9 <= abs(value) < 1e-4:
        written = f"{value:.{3 - math.floor(math.log10(abs(value)))}f}".rstrip("0")
    else:
        written = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return written.replace("-", "−")


def number(value: float | None) -> Markup:
    """Four significant digits, the exact value on hovering."""
    if value is None or not math.isfinite(value):
        return Markup('<span class="muted">no figure</span>')
    return Markup('<span class="number" title="{}">{}</span>').format(repr(value), short(value))


def digest(value: str | None) -> Markup:
    """The first twelve digits, the others on hovering."""
    if not value:
        return Markup('<span class="muted">not recorded</span>')
    return Markup('<code title="{}">{}</code>').format(value, value[:12])


def size(count: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    power = min(3, int(math.log(count, 1000))) if count > 0 else 0
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"


def duration(seconds: float) -> str:
    """Seconds, or the two largest units."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def money(amount: float, currency: str) -> str:
    """Two decimals, and two significant digits of what is less than one."""
    if amount and abs(amount) < 1:
        decimals = min(12, 1 - math.floor(math.log10(abs(amount))))
        return f"{amount:.{decimals}f} {currency}".replace("-", "−")
    return f"{amount:,.2f} {currency}".replace("-", "−")


def percent(share: float | None) -> str:
    """A change with its sign."""
    if share is None:
        return "–"
    return f"{100 * share:+,.0f} %".replace("-", "−")


def moment(iso: str) -> str:
    """A time of ISO 8601 to the minute, with its offset."""
    return datetime.fromisoformat(iso).isoformat(" ", "minutes")


def counted(count: int, noun: str) -> str:
    """The number and the noun, which has an s in its plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def embedded(png: bytes) -> str:
    """A picture as its own address."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def legible(text: str) -> str:
    """The text with � for what is neither a line's end nor visible."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)


_ALL = (
    says,
    account,
    number,
    digest,
    size,
    duration,
    money,
    percent,
    moment,
    counted,
    embedded,
    legible,
)
FILTERS = {each.__name__: each for each in _ALL}
"""For templates, by name."""
