"""aigc data: import, adopt, list, show and verify datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.commands.explain import explain, lineage_of
from jobs.console import Output, message, output_option, show_list, show_one
from jobs.invocation import Invocation
from jobs.progress import Reporter

if TYPE_CHECKING:
    from aigc.data.importers.importing import Format, Input, Map
    from aigc.data.importers.importing import Output as Result

COLUMNS = ("dataset", "modality", "records", "splits", "bytes", "created")
WORTH_WATCHING = 8
"""Parts of an import, files to adopt; fewer are over soon."""
LARGE_ROW_GROUP = 256 * 2**20
"""Bytes of its records, decoded."""


def _shape(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    try:
        return None if value is None else tuple(int(side) for side in value.split(","))
    except ValueError as error:
        raise click.BadParameter("write it as 3,64,64", context, option) from error


def _shares(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    shares = dict[str, float]()
    for value in values:
        name, _, share = value.partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise click.BadParameter(f"{share!r} is no number", context, option) from error
        if name not in ("validation", "test"):
            raise click.BadParameter("write validation=0.1 or test=0.1", context, option)
    return shares


def _classes(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if not value.isdecimal():
        names = tuple(value.split(","))
        if "" in names or len(set(names)) < len(names):
            raise click.BadParameter("each class needs a name of its own", context, option)
        return names
    from aigc.data.description import MAX_CLASSES

    if len(value) > len(str(MAX_CLASSES)) or not 1 <= int(value) <= MAX_CLASSES:
        raise click.BadParameter(f"there are 1 to {MAX_CLASSES} classes", context, option)
    return tuple(map(str, range(int(value))))


@click.group()
def data() -> None:
    """Import, adopt, list, show and verify datasets, and explain their samples."""


data.add_command(explain)


@data.command("import")
@click.argument("importer", metavar="IMPORTER")
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="The dataset's name; digits and mnist-5k have one of their own.")
@click.option("--shape", metavar="C,H,W", callback=_shape, help="Of images; else the first's.")
@click.option("--resize", is_flag=True, help="Crop and scale images of another size.")
@click.option("--column", metavar="COLUMN", help="The content, in a table.")
@click.option("--label", metavar="COLUMN", help="The class, in a table.")
@click.option(
    "--length", metavar="BYTES", type=int, help="Of a record of text; makes a column text."
)
@click.option(
    "--format",
    type=click.Choice(["parquet", "arrow"]),
    default="parquet",
    help="Of the shards: compressed, or read in half the time.",
)
@click.option(
    "--split",
    "shares",
    metavar="NAME=SHARE",
    multiple=True,
    callback=_shares,
    help="Share of validation or test; by default 0.1 each.",
)
@click.option(
    "--on",
    "place",
    type=click.Choice(["here", "local"]),
    help="Where to run; by default here, and a large import on a Ray started on this machine.",
)
@output_option
@click.pass_obj
def import_(
    invocation: Invocation,
    /,
    importer: str,
    path: Path | None,
    name: str | None,
    shares: dict[str, float],
    format: Format,
    place: str | None,
    output: Output,
    **options: Any,
) -> None:
    """Import files as a dataset: IMPORTER is digits, mnist-5k (both come with a package), idx,
    images, huggingface, parquet, csv, jsonl or text.

    \b
    idx, images                --shape --resize
    huggingface                --shape --resize --column --label --length
    parquet, csv, jsonl        --shape --resize --column (needed) --label --length
    text                       --length

    A column of a table holds image files, their paths beside the table or pixels; with --length it
    is text. Which split a record is of depends on its own content, not on the folders or splits of
    the source: import what must stay apart under names of its own, with --split test=0.

    The same source is the same version, however often it is imported. What is rejected is kept
    beside the dataset, in quarantine, with the reason.
    """
    from aigc.data.importers import Options, Shares, plan_import, run_import
    from cluster.importing import mapping, place_of

    plan = plan_import(importer, name, path, Options(**options), Shares(**shares), format)
    place = place or place_of(plan)
    message(f"importing {plan.importer.origin}, {plan.bytes / 2**20:.1f} MiB, --on {place}")
    workspace = invocation.open()
    with mapping(place, workspace.root / "ray") as run:
        dataset, made = run_import(workspace.datasets, plan, _watched(run))
    for line in _cleaning_lines(dataset):
        message(line)
    message(f"imported {dataset.reference}" if made else f"{dataset.reference} was there already")
    show_one(_summary(dataset), output)


@data.command("list")
@output_option
@click.pass_obj
def list_(invocation: Invocation, output: Output) -> None:
    """List the published datasets."""
    from aigc.data.catalog import list_datasets

    found, broken = list_datasets(invocation.look().datasets)
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
    """Show what a dataset holds, what it was made from, and what came of it: every training on it,
    its model, and the datasets that the model made.
    """
    from aigc.data.catalog import find

    workspace = invocation.look()
    found = find(workspace.datasets, dataset)
    lineage = lineage_of(workspace)
    manifest = found.manifest
    details = {
        "digest": manifest.digest,
        "columns": manifest.columns,
        "labels": list(manifest.layout.labels),
        "shape": list(manifest.layout.shape),
        "source": manifest.source,
        "folder": str(found.folder),
        "location": str(found.location),
        "shards": len(manifest.shards),
        "made_by": lineage.behind_dataset(found),
        "trainings": lineage.after_dataset(found),
    }
    show_one({**_summary(found), **details}, output)


@data.command()
@click.argument("dataset", metavar="NAME[@VERSION]")
@click.option("--quarantine", is_flag=True, help="Publish a version without what is damaged.")
@click.pass_obj
def verify(invocation: Invocation, dataset: str, quarantine: bool) -> None:
    """Check that nothing of a dataset is missing, changed, twice or foreign.

    Files with a published hash are hashed; of others, as adopted and quarantined ones, the footer
    is, and every content and label is read. With --quarantine, row groups that cannot be read are
    left out of a new version.
    """
    from aigc.data.catalog import find
    from aigc.data.verification import proof, without
    from aigc.data.verification import verify as check
    from aigc.errors import ShardCorrupt

    found = find(invocation.look().datasets, dataset)
    damages = check(found)
    for damage in damages:
        message(f"{found.reference}: {damage}")
    records = sum(found.manifest.splits.values())
    if not damages:
        message(f"{found.reference} is whole: {records} records; {proof(found)}")
    elif quarantine and any(damage.row_groups for damage in damages):
        kept = without(found, damages)
        left = sum(kept.manifest.splits.values())
        message(f"published {kept.reference} with {left} of {records} records")
    else:
        raise ShardCorrupt(
            f"dataset {found.reference} is damaged in {len(damages)} place(s)",
            "Restore the files named above, import or generate the dataset again, or leave out "
            "what cannot be read: --quarantine",
        )


@data.command()
@click.argument("location", metavar="LOCATION")
@click.option("--name", required=True, help="The dataset's name.")
@click.option("--column", metavar="COLUMN", help="The images, if more than one column can be.")
@click.option("--label", metavar="COLUMN", help="The class as an integer; by default label.")
@click.option("--shape", metavar="C,H,W", callback=_shape, help="Of images that are raw bytes.")
@click.option(
    "--classes",
    metavar="NAME,…",
    callback=_classes,
    help="Names of the classes, or how many there are; else they may have to be counted.",
)
@output_option
@click.pass_obj
def adopt(
    invocation: Invocation, /, location: str, name: str, output: Output, **described: Any
) -> None:
    """Use the Parquet and Arrow IPC files in LOCATION, a folder or a URI as s3://bucket/folder,
    as a dataset where they lie.

    Only a manifest is written. Only the footers are read; one image, if the column holds image
    files; and the column of labels, where nothing says the names of the classes. A file is of the
    split that its path names: train, validation or test. Links to folders are not followed.
    """
    from aigc.data.adopt import adopt as adopt_files
    from aigc.data.adopt import in_threads
    from aigc.data.description import Description

    root, map = invocation.open().datasets, _watched(in_threads, "adopting")
    dataset, made = adopt_files(root, location, name, Description(**described), map)
    _warn_of_large_row_groups(dataset.manifest)
    message(f"adopted {dataset.reference}" if made else f"{dataset.reference} was there already")
    show_one(_summary(dataset), output)


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


def _warn_of_large_row_groups(manifest: Any) -> None:
    size = manifest.layout.size
    largest = max(rows * size for shard in manifest.shards for rows in shard.row_groups)
    if largest > LARGE_ROW_GROUP:
        rows = max(1, LARGE_ROW_GROUP // size)
        message(
            f"a row group holds {largest / 2**20:.0f} MiB of decoded records, which may have to be "
            f"in memory at once: rewrite the files with a row_group_size of up to {rows}"
        )


def _watched(run: Map, label: str = "importing") -> Map:
    """The same map, with its progress shown where there is some to wait for."""

    def watched(
        function: Callable[[Input], Result], inputs: Sequence[Input], /
    ) -> Iterator[Result]:
        if len(inputs) < WORTH_WATCHING:
            yield from run(function, inputs)
            return
        with Reporter().progress(label, len(inputs)) as progress:
            for done, result in enumerate(run(function, inputs), start=1):
                progress.update(done)
                yield result

    return watched


def _cleaning_lines(dataset: Any) -> list[str]:
    """What was found wrong, a line for each reason, and where to look."""
    cleaning = dataset.manifest.source["cleaning"]
    near, folder = cleaning["near_duplicates"], dataset.folder
    lines = [f"rejected {count}: {reason}" for reason, count in cleaning["rejected"].items()]
    if lines:
        lines.append(f"of {cleaning['read']} records; they are in {folder / 'quarantine'}")
    if near["pairs"]:
        where = folder / "near-duplicates.parquet"
        lines.append(f"near-duplicates, kept: {near['records']} records, listed in {where}")
    return lines
