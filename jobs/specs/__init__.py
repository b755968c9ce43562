"""The specs that are shipped, ready to submit."""

from pathlib import Path

SPECS = Path(__file__).parent
