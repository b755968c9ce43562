"""aigc demo: the whole night at once."""

from __future__ import annotations

import click

from jobs.console import Output, message, output_option, show_one
from jobs.invocation import Invocation, place_option


@click.command()
@place_option
@output_option
@click.pass_obj
def demo(invocation: Invocation, place: str, output: Output) -> None:
    """Train a VAE and a GAN on real digits, and publish what the better one makes.

    A few minutes on two cores; asking again shows what is there.
    """
    from jobs.demo import run_demo
    from jobs.progress import Reporter

    workspace = invocation.open()
    outcome = run_demo(workspace, place, Reporter())
    show_one({key: outcome[key] for key in ("dataset", "report", "figures")}, output)
    message(f"pictures of the training   {workspace.root / 'runs'}/*/samples/*.png")
    message(f"every curve and model      mlflow ui --backend-store-uri {workspace.tracking_uri}")
