"""Earlier nights are read from their reports, whatever became of these."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from nights import FIGURES, costs, earlier, make

from jobs.report import history, write_index, write_report
from jobs.report.history import comparable, recent
from jobs.report.index import as_index


def keep(datasets: Path, version: str, created: str, published: bool = True) -> Path:
    folder = datasets / "digits-nightly" / version
    folder.mkdir(parents=True)
    report = make() if published else make(frechet_at_most=50)
    dated = replace(report, dataset=f"digits-nightly@{version}", created=created, economics=costs())
    write_report(folder, dated)
    if published:
        (folder / "manifest.json").touch()
    return folder


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    keep(tmp_path, "b", "2026-02-11T02:00:00+01:00")
    keep(tmp_path, "c", "2026-02-10T02:00:00+01:00", published=False)
    keep(tmp_path, "a", "2026-02-11T01:30:00+00:00")
    return tmp_path


def test_nights_come_in_the_order_of_time(datasets: Path) -> None:
    found = history(datasets, "digits-nightly")
    assert [night.version for night in found] == ["c", "b", "a"]
    assert [night.published for night in found] == [False, True, True]
    assert found[0].why == "frechet_5k is 57.2134, not at most 50"
    assert found[-1].figures["coverage_5k"] == 0.8182
    assert found[-1].economics["currency"] == "EUR"
    assert found[-1].accepted == 10_000


def test_tonight_is_none_of_them(datasets: Path) -> None:
    found = history(datasets, "digits-nightly", besides="a")
    assert [night.version for night in found] == ["c", "b"]
    assert history(datasets, "unknown") == []


def test_after_a_month_of_quarantine_the_last_published_week_is_remembered() -> None:
    nights = [replace(night, published=at < 10) for at, night in enumerate(earlier(45, FIGURES))]

    found = recent(nights)

    assert found == nights[3:10] + nights[15:]
    assert recent(found) == found
    assert recent([]) == []


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"created": "2026"}', "\udcff", '{"created": 3}']
)
def test_a_damaged_report_is_no_night(datasets: Path, damage: str) -> None:
    path = datasets / "digits-nightly" / "b" / "report.json"
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert [night.version for night in history(datasets, "digits-nightly")] == ["c", "a"]


def test_a_report_of_the_first_format_is_a_night(datasets: Path) -> None:
    path = datasets / "digits-nightly" / "a" / "report.json"
    old = json.loads(path.read_text())
    for name in ("economics", "funnel", "copying", "nights", "gates"):
        del old[name]
    path.write_text(json.dumps(old | {"format": 1, "figures": old["figures"] | {"bad": None}}))
    night = history(datasets, "digits-nightly")[-1]
    assert (night.accepted, night.copies, night.economics) == (10_000, None, {})
    assert "bad" not in night.figures


def test_a_metric_compares_under_the_same_protocol_only(datasets: Path) -> None:
    path = datasets / "digits-nightly" / "b" / "report.json"
    old = json.loads(path.read_text())
    old["evaluation"]["extractor_digest"] = "another"
    old["figures"]["blank"] = 0.5
    path.write_text(json.dumps(old))
    nights = comparable(history(datasets, "digits-nightly"), make().evaluation)
    assert ["frechet_5k" in night.figures for night in nights] == [True, False, True]
    assert nights[1].figures["blank"] == 0.5
    alone = comparable(nights, None)
    assert not any("frechet_5k" in night.figures for night in alone)


def test_a_report_without_a_manifest_was_not_published(datasets: Path) -> None:
    (datasets / "digits-nightly" / "a" / "manifest.json").unlink()
    assert not history(datasets, "digits-nightly")[-1].published


def test_the_index_leads_to_every_night(datasets: Path) -> None:
    page = write_index(datasets, "digits-nightly").read_text()
    assert [page.index(f'href="{version}/report.html"') for version in "abc"] == sorted(
        page.index(f'href="{version}/report.html"') for version in "abc"
    )
    assert page.count("✓") == 2
    assert page.count("✕") == 1
    assert "0.092 EUR" in page
    assert "://" not in page


def test_the_figures_that_gates_look_at_come_first(datasets: Path) -> None:
    assert history(datasets, "digits-nightly")[-1].gated == ["frechet_5k", "coverage_5k"]
    nights = [replace(night, gated=["kernel_5k", "gone"]) for night in earlier(2, FIGURES)]
    columns = re.findall(r'class="right">([a-z]+_5k|blank)</th>', as_index("night", nights))
    assert columns == ["kernel_5k", "frechet_5k", "coverage_5k"]
    nights[1] = replace(nights[1], gated=["blank"])
    columns = re.findall(r'class="right">([a-z]+_5k|blank)</th>', as_index("night", nights))
    assert columns == ["frechet_5k", "coverage_5k", "kernel_5k"]


def test_a_figure_that_stays_is_no_range() -> None:
    page = as_index("night", earlier(2, {"blank": 0.0, "frechet_5k": 100.0}))
    assert '<span class="says">0</span>' in page
    assert '<span class="says">100 to 101</span>' in page


def test_of_one_night_no_line_is_drawn() -> None:
    assert "The last" not in as_index("night", earlier(1, {"frechet_5k": 100.0}))
    assert "The last 2 nights" in as_index("night", earlier(2, {"frechet_5k": 100.0}))
