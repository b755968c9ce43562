"""Checks are made side by side, and whatever happens to one is a finding."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cluster.doctor import CHECKS
from cluster.doctor.contract import Check, Finding, Installation, ok
from cluster.doctor.examination import examine
from cluster.errors import StoreUnavailable


def said(area: str) -> Check:
    return Check(area, lambda installation: [ok("name", area)])


def failing(error: Exception) -> Check:
    def look(installation: Installation) -> Iterator[Finding]:
        yield ok("before", "it failed")
        raise error

    return Check("bad", look)


def test_areas_come_in_the_order_of_the_table(installation: Installation) -> None:
    third_is_done = threading.Event()

    def second(installation: Installation) -> Iterator[Finding]:
        assert third_is_done.wait(60)
        yield ok("name", "second")

    def third(installation: Installation) -> Iterator[Finding]:
        third_is_done.set()
        yield ok("name", "third")

    checks = [said("first"), Check("second", second), Check("third", third)]

    assert [area.name for area in examine(installation, checks)] == ["first", "second", "third"]


def test_the_first_has_ended_before_the_others_begin(installation: Installation) -> None:
    ended = threading.Event()

    def first(installation: Installation) -> Iterator[Finding]:
        yield ok("name", "first")
        ended.set()

    def second(installation: Installation) -> Iterator[Finding]:
        yield ok("name", str(ended.is_set()))

    *_, last = examine(installation, [Check("first", first), Check("second", second)])

    assert last.findings[0].found == "True"


def test_a_check_that_fails_keeps_what_it_found_and_says_why(installation: Installation) -> None:
    before, failure = next(
        examine(installation, [failing(ZeroDivisionError("of\nlines"))])
    ).findings

    assert before == ok("before", "it failed")
    assert (failure.name, failure.grade) == ("bad", "problem")
    assert failure.found == "the check failed: ZeroDivisionError: of"


def test_an_error_of_ours_is_its_two_sentences(installation: Installation) -> None:
    error = StoreUnavailable("it does not answer", "Start it")
    _, failure = next(examine(installation, [failing(error)])).findings

    assert (failure.found, failure.advice) == ("it does not answer", "Start it")


def test_a_check_that_hangs_is_left_behind(installation: Installation) -> None:
    released = threading.Event()

    def hanging(installation: Installation) -> Iterator[Finding]:
        yield ok("before", "it hangs")
        released.wait(60)

    areas = list(examine(installation, [Check("slow", hanging, seconds=0.05), said("next")]))
    released.set()

    (late,) = areas[0].findings
    assert (late.name, late.grade) == ("slow", "problem")
    assert "within 0.05 s" in late.found
    assert areas[1].findings == (ok("name", "next"),)


def test_without_checks_nothing_is_found(installation: Installation) -> None:
    assert list(examine(installation, [])) == []


@pytest.mark.parametrize("check", CHECKS[1:], ids=lambda check: check.look.__module__)
def test_no_check_of_the_table_makes_anything(check: Check, installation: Installation) -> None:
    root = installation.workspace.root
    missing = Installation(type(installation.workspace)(root / "missing"), dict)
    for each in (installation, missing):
        (area,) = examine(each, [check])

        assert [found for found in area.findings if "the check failed" in found.found] == []
    assert list(root.iterdir()) == []
