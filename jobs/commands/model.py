"""aigc model: the registered models, and who is champion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.console import Output, message, output_option, show_list, show_one
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.registry import Registry
    from cluster.tracking import Tracking

COLUMNS = ("model", "aliases", "family", "dataset", "figures", "created")
MOVE_COLUMNS = ("at", "alias", "from_version", "to_version", "kind", "state", "who", "why")


@click.group()
def model() -> None:
    """List and show registered models, and govern which version is champion."""


@model.command("list")
@click.argument("name", required=False)
@output_option
@click.pass_obj
def list_(invocation: Invocation, name: str | None, output: Output) -> None:
    """List the versions of every registered model, or of NAME."""
    found = list[dict[str, object]]()
    if name is not None or invocation.look().has_tracking:
        registry, _ = _opened(invocation, name or "")
        names = registry.names() if name is None else [registry.known(name)]
        found = [_summary(version) for each in names for version in registry.versions(each)]
    show_list(found, COLUMNS, output, "No models yet. Train one with: aigc submit SPEC")


@model.command()
@click.argument("reference", metavar="NAME@VERSION")
@output_option
@click.pass_obj
def show(invocation: Invocation, reference: str, output: Output) -> None:
    """Show a version by its number or alias: figures, verdict, what it was made from, and the
    datasets that it has made."""
    from cluster.lineage import Lineage

    registry, tracking = _opened(invocation, reference)
    version, lineage = registry.resolve(reference), Lineage(tracking.workspace, tracking, registry)
    details = {
        "digest": version.digest,
        "evaluation": version.evaluation,
        "gates": version.gates and version.gates.model_dump(mode="json"),
        "verdict": version.verdict,
        "made_by": lineage.behind_model(version),
        "datasets": lineage.after_model(version),
    }
    show_one({**_summary(version), **details}, output)


@model.command()
@click.argument("reference", metavar="NAME@VERSION")
@click.option("--force", is_flag=True, help="Whatever the gates say; needs a --reason.")
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@output_option
@click.pass_obj
def promote(
    invocation: Invocation, reference: str, force: bool, reason: str | None, output: Output
) -> None:
    """Make a version champion, if its recorded evaluation passes the gates of its spec.

    They are those of registry.promote in its train spec, or of promote in the evaluate spec that
    judged it last; it is compared with the champion on the same data under the same extractor.
    """
    from cluster.ledger import Cause
    from cluster.promotion import promote_recorded
    from jobs.run import require_passed

    if force and not (reason or "").strip():
        raise click.UsageError("--force needs a --reason, which the history keeps")
    registry, _ = _opened(invocation, reference)
    version = registry.resolve(reference)
    cause = Cause("force" if force else "promote", reason or "it passed its gates")
    verdict = promote_recorded(registry, version, cause)
    now = registry.resolve(str(version))
    show_one({**_summary(now), "verdict": verdict.as_dict()}, output)
    if not force:
        require_passed({"submission": str(version), "verdict": verdict.as_dict()})
    message(f"{version} is the champion now{', by force' if force else ''}: {verdict}")


@model.command()
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Why, for the history.")
@output_option
@click.pass_obj
def rollback(invocation: Invocation, name: str, reason: str | None, output: Output) -> None:
    """Make the champion before the present one champion again.

    Lists the datasets that the withdrawn version made. Asked again, it goes back further.
    """
    from cluster.ledger import Cause
    from cluster.lineage import made_by

    registry, tracking = _opened(invocation, name)
    champion, withdrawn = registry.roll_back(
        name, Cause("rollback", reason or "no reason was given")
    )
    made = made_by(tracking.workspace.datasets, withdrawn) if withdrawn else []
    references = [dataset.reference for dataset in made]
    show_one(
        {
            "champion": str(champion),
            "withdrawn": str(withdrawn) if withdrawn else None,
            "datasets": references,
        },
        output,
    )
    if references:
        message(f"{withdrawn} made these, which are still published: {', '.join(references)}")


@model.command()
@click.argument("name")
@output_option
@click.pass_obj
def history(invocation: Invocation, name: str, output: Output) -> None:
    """List every move of the aliases of a model: who, when, why, by which gates.

    A move of the kind "outside" was made in MLflow itself; it was seen at the time given.
    """
    registry, _ = _opened(invocation, name)
    moves = [move.as_dict() for move in registry.history(name)]
    show_list(moves, MOVE_COLUMNS, output, f"No alias of {name} was ever moved")


def _opened(invocation: Invocation, reference: str) -> tuple[Registry, Tracking]:
    """The registry and its store. Raises ModelNotFound of `reference` where there is none."""
    from cluster.errors import ModelNotFound
    from cluster.registry import open_registry
    from cluster.tracking import Tracking

    workspace = invocation.look()
    if not workspace.has_tracking:
        raise ModelNotFound(
            f"there is no model {reference!r} in {workspace.root}",
            "None was registered here yet: train one with aigc submit",
        )
    tracking = Tracking(workspace)
    return open_registry(workspace, tracking), tracking


def _summary(version: Any) -> dict[str, object]:
    return {
        "model": str(version),
        "aliases": list(version.aliases),
        "family": version.family,
        "dataset": version.dataset,
        "figures": (version.evaluation or {}).get("figures", {}),
        "created": version.created,
    }
