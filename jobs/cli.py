"""The command aigc: reads the command line, and turns errors into a sentence and an exit code.

Imports nothing heavy: `aigc --help` must answer at once. Commands import what they need inside.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import click
from click.core import ParameterSource

from aigc import __version__
from aigc.errors import FactoryError
from cluster.workspace import USUAL, VARIABLE
from jobs.commands import data, demo, doctor, job, model, schedule, schema, submit, track
from jobs.console import message
from jobs.errors import DONE, INTERRUPTED, SpecInvalid, exit_code
from jobs.interruption import noting_interruptions, was_interrupted
from jobs.invocation import Invocation

COMMANDS: tuple[click.Command, ...] = (
    demo.demo,
    data.data,
    submit.submit,
    job.job,
    model.model,
    schedule.schedule,
    track.track,
    schema.schema,
    doctor.doctor,
)


class _Aigc(click.Group):
    """Prints the traceback of an error where --debug asks for it, and lets the error go on."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except Exception as error:
            expected = click.exceptions.Exit, click.Abort, click.ClickException
            if context.params["debug"] and not isinstance(error, expected):
                traceback.print_exc()
            raise


@click.group(cls=_Aigc, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--workspace",
    metavar="PATH",
    envvar=VARIABLE,
    default=USUAL,
    show_default=True,
    show_envvar=True,
    help="The folder that holds everything this installation writes.",
)
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
@click.version_option(__version__, prog_name="aigc")
@click.pass_context
def cli(context: click.Context, workspace: str, debug: bool) -> None:
    """Train generative models, govern them, and wake up to a new, checked dataset."""
    named = context.get_parameter_source("workspace") is not ParameterSource.DEFAULT
    context.obj = Invocation(workspace, debug, named)


for command in COMMANDS:
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's; returns the exit code."""
    with noting_interruptions():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # A number that comes back is that of context.exit(); commands return nothing.
        returned = cli.main(arguments, prog_name="aigc", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        message(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        return _refuse(error)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except Exception as error:
        if was_interrupted() and not isinstance(error, FactoryError):
            # A library whose import it has torn fails in ways of its own.
            return _interrupted()
        message(_sentences(error))
        return exit_code(error)
    return returned if isinstance(returned, int) else DONE


def _interrupted() -> int:
    message("interrupted; give the same command again to go on")
    return INTERRUPTED


def _refuse(error: click.ClickException) -> int:
    """Say what is wrong with the command line, and where help is."""
    message(f"error: {error.format_message()}")
    if isinstance(error, click.UsageError):
        message(f"See: {error.ctx.command_path if error.ctx else 'aigc'} --help")
    return error.exit_code


def _sentences(error: Exception) -> str:
    """What went wrong, and the next step."""
    if isinstance(error, SpecInvalid):
        return f"{error}\nerror: {error.what}. {error.next_step}."
    if isinstance(error, FactoryError):
        return f"error: {error}"
    kind = type(error).__name__
    what = " ".join(str(error).split()) or "no further words"
    return f"error: {kind}: {what}. This is a fault of aigc itself: run again with --debug"
