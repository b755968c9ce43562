"""aigc data explain: one sample of a generated dataset, back to the commit, and made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.console import Output, message, output_option, show_one
from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.explanation import Sample
    from cluster.lineage import Lineage
    from cluster.workspace import Workspace


@click.command()
@click.argument("dataset", metavar="NAME[@VERSION]")
@click.argument("sample", type=int, metavar="SAMPLE")
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write its media file, labelled, and signed if the spec says so, to FILE.",
)
@output_option
@click.pass_obj
def explain(
    invocation: Invocation, dataset: str, sample: int, save: Path | None, output: Output
) -> None:
    """Show what made one sample of a generated dataset: seed, model, runs, specs, data and commit;
    its scores and its label; and make it again, byte for byte, if the model is there.
    """
    from aigc.data.catalog import find
    from cluster.explanation import Sample
    from jobs.signing import save as save_file
    from jobs.signing import signing_of

    workspace = invocation.look()
    found = find(workspace.datasets, dataset)
    explained = Sample.of(found, sample)
    file = explained.file()
    if save is not None:
        signing = signing_of(workspace, found)
        signer = save_file(save, file, signing, explained.plan.model)
        message(f"wrote {save}" + (f", signed by {signer}" if signer else ""))
    shown = {"dataset": found.reference, **explained.as_dict()}
    shown |= {"made_again": _made_again(workspace, explained)}
    shown |= {"made_by": lineage_of(workspace).behind_dataset(found)}
    show_one(shown, output)


def _made_again(workspace: Workspace, sample: Sample) -> str:
    """Whether the model gives the same bytes, or why that could not be tried."""
    from aigc.errors import FactoryError
    from cluster.code import code_digest
    from cluster.registry import open_registry
    from cluster.tracking import Tracking

    if not workspace.has_tracking:
        return "not tried: there is no MLflow here"
    try:
        is_same = sample.make_again(open_registry(workspace, Tracking(workspace)))
    except FactoryError as error:
        return f"not tried: {error.what}"
    if is_same:
        return "the same, byte for byte"
    other = ", by other code than that of the plan" if code_digest() != sample.plan.code else ""
    return f"other bytes{other}"


def lineage_of(workspace: Workspace) -> Lineage:
    """With what MLflow knows, or without it where it does not answer."""
    from cluster.errors import TrackingUnavailable
    from cluster.lineage import Lineage, open_lineage

    try:
        return open_lineage(workspace)
    except TrackingUnavailable as error:
        message(f"runs and versions are missing here: {error}")
        return Lineage(workspace)
