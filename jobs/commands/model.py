"""aigc model: the registered models."""

from __future__ import annotations

from typing import Any

import click

from jobs.console import Output, output_option, show_list, show_one
from jobs.invocation import Invocation

COLUMNS = ("model", "aliases", "family", "dataset", "figures", "created")


@click.group()
def model() -> None:
    """List and show registered models."""


@model.command("list")
@click.argument("name", required=False)
@output_option
@click.pass_obj
def list_(invocation: Invocation, name: str | None, output: Output) -> None:
    """List the versions of every registered model, or of NAME."""
    registry = _registry(invocation)
    names = registry.names() if name is None else [registry.known(name)]
    found = [_summary(version) for each in names for version in registry.versions(each)]
    show_list(found, COLUMNS, output, "No models yet. Train one with: aigc submit SPEC")


@model.command()
@click.argument("reference", metavar="NAME@VERSION")
@output_option
@click.pass_obj
def show(invocation: Invocation, reference: str, output: Output) -> None:
    """Show a version by its number or alias: figures, verdict, and what it was made from."""
    version = _registry(invocation).resolve(reference)
    details = {
        "digest": version.digest,
        "run_id": version.run_id,
        "evaluation": version.evaluation,
        "verdict": version.verdict,
        "submission": version.submission,
    }
    show_one({**_summary(version), **details}, output)


def _registry(invocation: Invocation) -> Any:
    from cluster.registry import Registry
    from cluster.tracking import Tracking

    return Registry(Tracking(invocation.open()))


def _summary(version: Any) -> dict[str, object]:
    return {
        "model": str(version),
        "aliases": list(version.aliases),
        "family": version.family,
        "dataset": version.dataset,
        "figures": (version.evaluation or {}).get("figures", {}),
        "created": version.created,
    }
