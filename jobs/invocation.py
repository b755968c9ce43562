"""What holds for the whole command line."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from cluster.workspace import Workspace

PLACES = ("here", "local", "cluster")
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


class _Where(click.ParamType[str]):
    """A place of this process, or the address of a head."""

    name = "where"

    def convert(
        self, value: str, parameter: click.Parameter | None, context: click.Context | None
    ) -> str:
        if value in PLACES or value.lower().startswith(("http://", "https://")):
            return value
        near = difflib.get_close_matches(value, PLACES, 1)
        asked = f"Did you mean {near[0]!r}?" if near else f"Say {', '.join(PLACES)} or https://…"
        self.fail(f"{value!r} is no place. {asked}", parameter, context)


def where_option(command: F) -> F:
    """--on here|local|cluster|URL, handed to the command as `place`."""
    return click.option(
        "--on",
        "place",
        type=_Where(),
        default="local",
        show_default=True,
        metavar="here|local|cluster|URL",
        help="Where to run: in this process, on a Ray started on this machine, on the Ray of this "
        "node, or on the cluster of the head at https://HEAD:8265.",
    )(command)


def insecure_option(command: F) -> F:
    """--insecure-cluster, handed to the command as `insecure`."""
    return click.option(
        "--insecure-cluster",
        "insecure",
        is_flag=True,
        help="Talk to a head without TLS or token: whoever is on the way, or reaches it, may read "
        "and run anything.",
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
