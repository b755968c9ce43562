"""Labels of generated content. To add a format: a class that keeps the contract, and a line here.

Each also carries, where it has a place for it, what the EU AI Act, article 50(2), asks for.
"""

from __future__ import annotations

from aigc.generation.labels.contract import Carrier
from aigc.generation.labels.front_matter import FrontMatter
from aigc.generation.labels.png import PngCarrier

CARRIERS: dict[str, Carrier] = {
    "md": FrontMatter(),
    "png": PngCarrier(),
    "txt": FrontMatter(),
}
"""By the suffix of the files."""
