"""What holds for the whole command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from cluster.workspace import Workspace

F = TypeVar("F", bound=Callable[..., object])


def place_option(command: F) -> F:
    """--on here|local, handed to the command as `place`."""
    return click.option(
        "--on",
        "place",
        type=click.Choice(["here", "local"]),
        default="local",
        show_default=True,
        help="Where to run: in this process, or on a Ray started on this machine.",
    )(command)


@dataclass(frozen=True)
class Invocation:
    """The options before the verb; commands receive it by @click.pass_obj.

    `named`: somebody has said which workspace, in the command or in the environment.
    """

    workspace: str
    debug: bool
    named: bool

    def look(self) -> Workspace:
        """The workspace as it is, for commands that read; nothing is made.

        One that nobody has named may not be there yet: it is empty. Raises WorkspaceNotFound,
        WorkspaceUnwritable.
        """
        from cluster.workspace import Workspace

        return Workspace.look(self.workspace, expected=self.named)

    def open(self) -> Workspace:
        """The workspace, made if need be. Raises WorkspaceUnwritable."""
        from cluster.workspace import Workspace

        return Workspace.at(self.workspace)
