"""The champions that were fetched last, for nights in which the registry does not answer.

champions/NAME/champion.json     the version, and when it was fetched
champions/NAME/DIGEST/           its artifacts
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from aigc.data.files import unwritable, write_json
from aigc.errors import ArtifactCorrupt
from aigc.training.tensors import require_whole
from cluster.aliases import CHAMPION
from cluster.locks import exclusive
from cluster.registry import ModelVersion
from cluster.tails import whole
from cluster.workspace import Workspace

VERSION = "champion.json"


@dataclass(frozen=True)
class Champions:
    """What this workspace knows of champions by itself."""

    workspace: Workspace

    def keep(self, version: ModelVersion, fetched: Path) -> None:
        """Keep the artifacts in the folder `fetched`, if they are a champion's.

        Those of the champion before are removed. Raises WorkspaceUnwritable.
        """
        if CHAMPION in version.aliases:
            with exclusive(self._folder(version.name) / ".lock"):
                self._keep(version, fetched)

    def _keep(self, version: ModelVersion, fetched: Path) -> None:
        folder = self._folder(version.name)
        target, partial = folder / version.digest, folder / f".{version.digest}.partial"
        try:
            if not _is_whole(target):
                for path in (target, partial):
                    shutil.rmtree(path, ignore_errors=True)
                shutil.copytree(fetched, partial)
                partial.rename(target)
        except OSError as error:
            raise unwritable(target, error) from error
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(folder / VERSION, {"version": asdict(version), "fetched": now})
        for other in folder.iterdir():
            if other.is_dir() and other != target:
                shutil.rmtree(other, ignore_errors=True)

    def last(self, name: str) -> tuple[ModelVersion, str] | None:
        """The champion that was fetched last, and when, if its artifacts are whole."""
        noted = whole(self._folder(name) / VERSION)
        with suppress(KeyError, TypeError):
            kept = noted["version"]
            version = ModelVersion(**{**kept, "aliases": tuple(kept["aliases"])})
            if _is_whole(self._folder(name) / version.digest):
                return version, str(noted["fetched"])
        return None

    def fetch(self, version: ModelVersion, folder: Path) -> bool:
        """Copy what was kept of a version to `folder`; False if it is not that one."""
        kept = self._folder(version.name) / version.digest
        if not version.digest or not _is_whole(kept):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        try:
            shutil.copytree(kept, folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        return True

    def _folder(self, name: str) -> Path:
        return self.workspace.root / "champions" / name


def _is_whole(folder: Path) -> bool:
    """Whether the artifacts are there, each as its hash says."""
    try:
        return require_whole(folder) == folder.name
    except ArtifactCorrupt:
        return False
