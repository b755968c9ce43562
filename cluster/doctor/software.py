"""Python, the packages, and this program: what runs here, and whether it is what was asked for."""

from __future__ import annotations

import importlib
import platform
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, distributions

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from aigc import __version__
from aigc.errors import first_line
from cluster.code import PACKAGES, code_digest
from cluster.doctor.contract import Finding, Installation, ok, problem, warning
from cluster.environment import ROOT, commit, packages

DISTRIBUTION = "aigc-factory"
HEAVY = ("torch", "pyarrow", "mlflow", "ray")
"""What a broken installation breaks first."""
OURS = ("cluster.delivery", "cluster.places")
"""What brings in the rest that the other checks share."""
REINSTALL = "In the source tree: python -m pip install --constraint constraints.txt --editable ."


@dataclass(frozen=True)
class Demands:
    """What the project asks of Python and of packages."""

    python: SpecifierSet
    packages: tuple[Requirement, ...]


def look(installation: Installation) -> Iterator[Finding]:
    """Versions, conflicts, imports, and the code itself."""
    wanted, installed = demands(), packages()
    yield judge_python(platform.python_version(), wanted)
    yield judge_packages(wanted.packages, installed)
    yield judge_conflicts(conflicts(wanted.packages, installed))
    yield judge_names(each.metadata["Name"] for each in distributions())
    yield judge_imports({name: import_failure(name) for name in HEAVY + OURS})
    yield _judged_code(installed)


def demands() -> Demands:
    """What pyproject.toml asks for, or what it asked for when this was installed.

    Raises PackageNotFoundError where there is neither.
    """
    if (source := ROOT / "pyproject.toml").is_file():
        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        lines, python = project["dependencies"], project["requires-python"]
    else:
        metadata = distribution(DISTRIBUTION)
        lines, python = metadata.requires or [], metadata.metadata["Requires-Python"]
    asked = (Requirement(line) for line in lines)
    return Demands(SpecifierSet(python), tuple(each for each in asked if _applies(each)))


def conflicts(asked: Iterable[Requirement], installed: Mapping[str, str]) -> list[str]:
    """What packages of ours miss among the versions of others, as `pip check` would say it."""
    found = []
    for ours in asked:
        if canonicalize_name(ours.name) not in installed:
            continue
        for line in distribution(ours.name).requires or []:
            theirs = Requirement(line)
            if _applies(theirs, ours.extras) and (lack := _lack(theirs, installed)):
                found.append(f"{ours.name} needs {lack}")
    return sorted(set(found))


def judge_python(version: str, wanted: Demands) -> Finding:
    """The version of Python against what is asked of it."""
    if wanted.python.contains(version, prereleases=True):
        return ok("python", f"Python {version}")
    advice = "Make the virtual environment again with such a Python"
    return problem("python", f"Python {version}, where {wanted.python} is asked for", advice)


def judge_packages(asked: Sequence[Requirement], installed: Mapping[str, str]) -> Finding:
    """The packages that we import ourselves against the versions that are asked for."""
    lacks = [lack for each in asked if (lack := _lack(each, installed))]
    if lacks:
        return problem("packages", "; ".join(lacks), REINSTALL)
    named = ", ".join(f"{name} {installed[name]}" for name in HEAVY if name in installed)
    return ok("packages", f"all {len(asked)} as asked for, among them {named}")


def judge_conflicts(found: Sequence[str]) -> Finding:
    """Whether what our packages ask of others is there."""
    if not found:
        return ok("conflicts", "none between our packages and theirs")
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    return warning("conflicts", "; ".join(found[:3]) + more, "See all: python -m pip check")


def judge_names(installed: Iterable[str]) -> Finding:
    """Whether each package is there once, and none has written over ours."""
    counts = Counter(canonicalize_name(name) for name in installed)
    if stolen := [name for name in PACKAGES if counts[canonicalize_name(name)]]:
        advice = f"python -m pip uninstall {' '.join(stolen)}, and install this program again"
        return problem(
            "names", f"{', '.join(stolen)} from a package index lies over our code", advice
        )
    if twice := sorted(name for name, count in counts.items() if count > 1):
        shown = ", ".join(twice[:5])
        advice = "Make the virtual environment again: which of them is imported is left to chance"
        return warning("names", f"installed more than once: {shown}", advice)
    return ok("names", "each package is installed once")


def import_failure(name: str) -> str | None:
    """Why the package cannot be imported; None if it can."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a package does when it is imported
        return f"{type(error).__name__}: {first_line(error)[:160]}"
    return None


def judge_imports(failures: Mapping[str, str | None]) -> Finding:
    """Whether the large packages can be used at all."""
    failed = [f"{name}: {failure}" for name, failure in failures.items() if failure]
    if failed:
        return problem("imports", "; ".join(failed), REINSTALL)
    return ok("imports", f"{', '.join(failures)} can be imported")


def judge_code(installed: str | None, commit: str | None, dirty: bool) -> Finding:
    """Which code this is: `installed` is the version by which pip knows it, if it does."""
    found = f"aigc {__version__}, code {code_digest()[:12]}"
    found += f", commit {commit[:12]}" if commit else ", of no commit that is known"
    if installed not in (None, __version__):
        return warning("code", f"{found}; pip knows it as {installed}", REINSTALL)
    if dirty:
        advice = "Commit before you make what is to be traced to its code"
        return warning("code", f"{found}, and changed since", advice)
    return ok("code", found)


def _judged_code(installed: Mapping[str, str]) -> Finding:
    made_from = commit()
    sha, dirty = (made_from.sha, made_from.dirty) if made_from else (None, False)
    return judge_code(installed.get(DISTRIBUTION), sha, dirty)


def _applies(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    """Whether it is asked for on this machine, with these extras or with none."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": each}) for each in ("", *extras))


def _lack(requirement: Requirement, installed: Mapping[str, str]) -> str:
    """What is wrong with that package; nothing if nothing is."""
    name = canonicalize_name(requirement.name)
    asked = f"{name}{requirement.specifier}"
    if name not in installed:
        return f"{asked}, which is not installed"
    if requirement.specifier.contains(installed[name], prereleases=True):
        return ""
    return f"{asked}, and has {installed[name]}"
