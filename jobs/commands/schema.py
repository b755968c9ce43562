"""aigc schema: what a spec can say, for editors."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of a job spec.

    Save it beside your specs and begin each with
    "# yaml-language-server: $schema=FILE": editors then complete and check as you type.
    """
    from jobs.spec import schema as spec_schema

    click.echo(json.dumps(spec_schema(), indent=2, ensure_ascii=False))
