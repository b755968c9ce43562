"""What holds for the whole command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.workspace import Workspace


@dataclass(frozen=True)
class Invocation:
    """The options before the verb; commands receive it by @click.pass_obj."""

    workspace: str
    debug: bool

    def open(self) -> Workspace:
        """The workspace, made if need be. Raises WorkspaceUnwritable."""
        from cluster.workspace import Workspace

        return Workspace.at(self.workspace)
