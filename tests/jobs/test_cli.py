"""The command line as a contract.

tests/golden/cli.json freezes every command and option. After a change that is meant:

    .venv/bin/python tests/jobs/test_cli.py > tests/golden/cli.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from aigc import __version__
from cluster.errors import CanNeverFit, GateRefused, NoChampion
from jobs import cli
from jobs.cli import main
from jobs.invocation import Invocation

GOLDEN = Path(__file__).parents[1] / "golden" / "cli.json"
HEAVY = ("torch", "ray", "mlflow", "pydantic", "pyarrow", "rich", "yaml", "numpy")


def frozen(command: click.Command, name: str = "aigc") -> dict[str, list[str]]:
    """Each command by its full name, with its options and arguments as they are written."""
    parameters = [described(each) for each in command.params]
    tree = {name: parameters}
    if isinstance(command, click.Group):
        for word in sorted(command.commands):
            tree |= frozen(command.commands[word], f"{name} {word}")
    return tree


def described(parameter: click.Parameter) -> str:
    words = "/".join([*parameter.opts, *parameter.secondary_opts])
    if isinstance(parameter, click.Argument):
        words = str(parameter.name).upper()
    kind = parameter.type
    choices = f" {'|'.join(map(str, kind.choices))}" if isinstance(kind, click.Choice) else ""
    flag = " flag" if isinstance(parameter, click.Option) and parameter.is_flag else ""
    many = " …" if parameter.multiple or parameter.nargs == -1 else ""
    return f"{words}{choices}{flag}{many}{' required' if parameter.required else ''}"


def test_the_commands_and_options_are_frozen() -> None:
    assert frozen(cli.cli) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["schema", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import sys
from jobs.cli import main
assert main({arguments!r}) == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "jobs", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"aigc, version {__version__}\n", "")


def test_the_schema_is_data_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["title"] == "aigc job spec"
    assert printed.err == ""


def test_a_reader_that_leaves_early_is_no_news() -> None:
    command = [sys.executable, "-m", "jobs", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_every_command_and_option_says_what_it_is_for() -> None:
    def silent(command: click.Command, name: str) -> Iterator[str]:
        if not command.help:
            yield name
        for option in command.params:
            if isinstance(option, click.Option) and not option.help:
                yield f"{name} {option.opts[0]}"
        if isinstance(command, click.Group):
            for word, each in command.commands.items():
                yield from silent(each, f"{name} {word}")

    assert list(silent(cli.cli, "aigc")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schma"], "Did you mean 'schema'?"),
        (["schema", "--nothing"], "--nothing"),
        (["schema", "extra"], "extra"),
        (["--workspace"], "--workspace"),
    ],
)
def test_wrong_usage_is_one_sentence_and_where_help_is(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    error, see = printed.err.splitlines()
    assert printed.out == ""
    assert error.startswith("error: ")
    assert said in error
    assert see.endswith("--help")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: aigc" in capsys.readouterr().err


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Invocation], Any]], None]:
    """Adds a command `run` that does what the test wants."""

    def add(action: Callable[[Invocation], Any]) -> None:
        command = click.Command("run", callback=click.pass_obj(action))
        monkeypatch.setitem(cli.cli.commands, "run", command)

    return add


Running = Callable[[Callable[[Invocation], Any]], None]


def failing(error: BaseException) -> Callable[[Invocation], None]:
    def action(invocation: Invocation) -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CanNeverFit("4 workers never fit", "Ask for 2"), 105),
        (GateRefused("frechet_5k is 90, not at most 60", "Train longer"), 107),
        (NoChampion("digits has no champion", "Promote a version"), 102),
    ],
)
def test_an_error_is_a_sentence_a_next_step_and_a_code(
    error: Exception, code: int, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running(failing(error))
    assert main(["run"]) == code
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_what_nobody_foresaw_is_one_line_that_offers_debug(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running(failing(ValueError("two\nlines")))
    assert main(["run"]) == 1
    assert capsys.readouterr().err == (
        "error: ValueError: two lines. This is a fault of aigc itself: run again with --debug\n"
    )


@pytest.mark.parametrize("error", [ValueError("x"), GateRefused("x", "y")])
def test_debug_prints_the_traceback(
    error: Exception, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running(failing(error))
    main(["--debug", "run"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_is_130(
    error: BaseException, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running(failing(error))
    assert main(["run"]) == 130
    said = capsys.readouterr().err.strip()
    assert said == "interrupted; give the same command again to go on"


MOMENTS = {
    "while the command line is imported": ("import", "jobs.cli", "schema", 130),
    "while a command imports, in code of a string": ("import", "jobs.spec", "schema", 130),
    "where a library makes another error of it": ("error", "jobs.spec", "schema", 130),
    "after its last word": ("end", "", "--version", 0),
}
COMES = """
import atexit, signal, sys

class Comes:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            try:
                exec("signal.raise_signal(signal.SIGINT)")
            except KeyboardInterrupt:
                if {when!r} == "error":
                    raise RecursionError() from None
                raise

if {when!r} != "end":
    sys.meta_path.insert(0, Comes())
else:
    atexit.register(signal.raise_signal, signal.SIGINT)
"""


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_a_sentence_and_a_code_whenever_it_comes(moment: str, tmp_path: Path) -> None:
    when, module, word, code = MOMENTS[moment]
    (tmp_path / "sitecustomize.py").write_text(COMES.format(when=when, module=module))
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
    said = subprocess.run(
        [sys.executable, "-m", "jobs", word],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert said.returncode == code
    first = "interrupted; give the same command again"
    assert said.stderr.strip().startswith(first if code else "")
    assert len(said.stderr.strip().splitlines()) == bool(code)


def test_the_workspace_comes_from_the_option_before_the_environment(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Invocation] = []
    running(seen.append)
    monkeypatch.delenv("AIGC_WORKSPACE", raising=False)
    assert main(["run"]) == 0
    monkeypatch.setenv("AIGC_WORKSPACE", "/shared")
    main(["run"])
    main(["--workspace", "/mine", "--debug", "run"])
    assert seen == [
        Invocation("./workspace", debug=False, named=False),
        Invocation("/shared", debug=False, named=True),
        Invocation("/mine", debug=True, named=True),
    ]


def test_the_code_of_a_command_is_that_of_the_process(running: Running) -> None:
    running(lambda invocation: click.get_current_context().exit(101))
    assert main(["run"]) == 101


if __name__ == "__main__":
    click.echo(json.dumps(frozen(cli.cli), indent=2, ensure_ascii=False))
