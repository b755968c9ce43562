"""Folders of image files: the class of an image is the folder that it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from aigc.data.cleaning import Rejected
from aigc.data.importers.contract import Options, Part, Raw
from aigc.data.importers.folders import all_files, existing, grouped, printable, whole_file
from aigc.data.importers.splits import WORDS
from aigc.errors import ImportRefused


@dataclass(frozen=True)
class ImageFolder:
    """A folder; its sub-folders, if it has any, are the classes, and their own are not told apart.

    Every file counts, unless it is hidden: one that is no image is rejected. A folder without any
    image is no class.
    """

    root: Path
    labels: tuple[str, ...] | None

    @classmethod
    def at(cls, path: Path | None, options: Options) -> ImageFolder:
        """The folder at `path`. Raises ImportRefused."""
        root = existing(path, "a folder of images")
        if not root.is_dir():
            raise ImportRefused(f"{root} is no folder", "Give the folder that the images lie in")
        folders = {_class(file) for file in all_files(root)} - {None}
        if folders and folders <= WORDS.keys():
            named = ", ".join(sorted(map(str, folders)))
            raise ImportRefused(
                f"the folders of {root} are splits, not classes: {named}",
                "Import one of them alone; an import makes splits of its own, by content",
            )
        return cls(root, None if folders else ())

    @property
    def origin(self) -> str:
        """The folder."""
        return printable(str(self.root))

    def parts(self) -> list[Part]:
        """Neighbouring files."""
        return list(grouped(self.root, all_files(self.root)))

    def read(self, part: Part) -> Iterator[Raw]:
        """The files, whole."""
        for file in part.files:
            try:
                value: bytes | Rejected = whole_file(self.root / file)
            except Rejected as rejected:
                value = rejected
            yield Raw(printable(file), value, _class(file))


def _class(file: str) -> str | None:
    """The first folder of a relative path."""
    parts = PurePath(file).parts
    return printable(parts[0]) if len(parts) > 1 else None
