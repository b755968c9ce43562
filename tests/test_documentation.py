"""What the README says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from jobs.cli import cli
from jobs.errors import EXIT_CODES
from jobs.source import parse
from jobs.spec import KINDS, check

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", *(ROOT / name / "README.md" for name in ("aigc", "cluster", "jobs"))]
README = READMES[0].read_text()


def commands() -> list[str]:
    lines = re.findall(r"^(aigc [^#\n]+)", README, flags=re.MULTILINE)
    assert len(lines) >= 8
    return [line.strip() for line in lines]


@pytest.mark.parametrize("line", commands())
def test_each_command_of_the_readme_is_one(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    context = command.make_context(command.name, words, resilient_parsing=False)

    assert context.command is command
    for word in words:
        if word.startswith("jobs/specs/"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("target", re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.M))
def test_each_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", re.findall(r"make bench NAME=(\w+)", README))
def test_each_benchmark_exists(name: str) -> None:
    assert (ROOT / "tests" / "benchmarks" / f"bench_{name}.py").is_file()


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_links_and_pictures_lead_somewhere(readme: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", readme.read_text())

    assert [each for each in targets if not (readme.parent / each).exists()] == []


def test_the_tree_is_on_the_disk() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    folder, missing = "", []
    for line in tree.strip().splitlines():
        names = re.match(r"( *)((?:[\w.-]+/? )*[\w.-]+/?)(?:  |$)", line)
        assert names is not None, line
        if not names[1]:
            folder = names[2]
            missing += [] if (ROOT / folder).is_dir() else [folder]
        else:
            paths = [f"{folder}{name}" for name in names[2].split()]
            missing += [path for path in paths if not (ROOT / path).exists()]

    assert missing == []


def test_the_specs_of_the_reference_are_valid() -> None:
    reference = (ROOT / "jobs" / "README.md").read_text().split("```yaml")[1].split("```")[0]
    kinds = [check(parse(each.encode(), "README.md")).kind for each in reference.split("---\n")]

    assert kinds == list(KINDS)


def test_the_exit_codes_are_all_explained() -> None:
    table = (ROOT / "jobs" / "README.md").read_text().split("## Exit codes")[1]

    assert set(EXIT_CODES.values()) | {0, 1} == {
        int(code) for code in re.findall(r"^\| (\d+)", table, re.M)
    }
