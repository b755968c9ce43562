"""The code as a package that a head hands to every worker: the three packages in one archive."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.code import PACKAGES
from cluster.errors import PackageTooLarge

ROOT = Path(__file__).parent.parent
SUFFIXES = (".py", ".yaml", ".jinja")
"""Of what the code consists of. Nothing else travels: a file of secrets may lie beside it."""
MOST_BYTES = 32 * 2**20
"""Before compression: all of it goes through the memory of the head."""
_TIME = (1980, 1, 1, 0, 0, 0)
"""The same for every file, so that the same code is the same package."""


@dataclass(frozen=True)
class Package:
    """An archive, and its name, which follows from its content."""

    name: str
    content: bytes

    @property
    def uri(self) -> str:
        """Where a head that has taken it keeps it."""
        return f"gcs://{self.name}"


def pack(root: Path = ROOT) -> Package:
    """The packages below `root`. Raises PackageTooLarge before it reads what is too much."""
    files = list(_files(root))
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise PackageTooLarge(
            f"the code in {root} has {size / 2**20:.0f} MiB, and {MOST_BYTES >> 20} can be sent",
            f"Move away what is no code; the largest is {largest.relative_to(root)}",
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            named = zipfile.ZipInfo(path.relative_to(root).as_posix(), _TIME)
            named.compress_type, named.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(named, path.read_bytes())
    content = buffer.getvalue()
    return Package(f"_ray_pkg_{hashlib.sha256(content).hexdigest()[:32]}.zip", content)


def _files(root: Path) -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.suffix in SUFFIXES and path.is_file() and not hidden:
                yield path
