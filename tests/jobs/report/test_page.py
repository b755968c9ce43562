"""The report: what it says of either verdict, and that nothing in it can do harm."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass, field, fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aigc.generation.plan import ModelReference, Plan
from aigc.layout import Layout
from cluster.evaluation import Evaluation
from cluster.judgement import Gates, judge
from jobs.report import Report, Sheet, write_report
from jobs.report.comparison import gate_rows
from jobs.report.page import as_page

HOSTILE = (
    """ "'><script src="https://evil.example/"></script><img src=x onerror=a()>{{ 7 * 7 }}&lt;"""
)
VOID = {"meta", "img"}
DIGEST = "0123456789abcdef" * 4
FIGURES = {"frechet_5k": 57.2134, "coverage_5k": 0.8182, "blank": 0.0, "kernel_5k": 0.041}


@dataclass
class Reader(HTMLParser):
    """The tags with their attributes, the visible text, and whether every tag was closed."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    balanced: bool = True
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def make(frechet_at_most: float = 60.0, figures: dict[str, float] = FIGURES) -> Report:
    gates = {"frechet_5k": {"at_most": frechet_at_most}, "coverage_5k": {"at_least": 0.5}}
    verdict = judge(figures, Gates.model_validate_json(json.dumps(gates)), None)
    plan = Plan(
        dataset="digits-nightly",
        model=ModelReference(name="digits", version=3, digest=DIGEST),
        layout=Layout(modality="image", shape=(1, 28, 28), labels=("0", "1")),
        count=10000,
        seed=7,
        shard_size=1000,
        code=DIGEST,
    )
    return Report(
        dataset="digits-nightly@3f2a00000000",
        submission="nightly-1",
        created="2026-02-11T02:04:51+01:00",
        published=verdict.passed,
        verdict=verdict.as_dict(),
        figures=figures,
        evaluation=Evaluation(figures, 2.1034, "digits@9b1c", DIGEST, DIGEST, 5000, 0).as_dict(),
        plan=plan.model_dump(mode="json"),
        model={
            "name": "digits",
            "version": 3,
            "digest": DIGEST,
            "run_id": "8d0f1c6f",
            "family": "vae",
            "trained_on": {"dataset": "digits@9b1c", "digest": DIGEST},
            "code": DIGEST,
        },
        sheets=[Sheet("Samples", "The first ten.", b"\x89PNG", 902, 92)],
        seconds={"generate": 83.2, "publish": 0.05},
        shards=[{"path": "shards/a.parquet", "records": 1000, "bytes": 241321, "sha256": DIGEST}],
        reproduce=["aigc submit nightly.yaml --set seed=7 --yes", "aigc data list"],
    )


def with_suffix(value: Any, suffix: str) -> Any:
    """The same value with the suffix on every text and every name in it."""
    if isinstance(value, str):
        return value + suffix
    if isinstance(value, list):
        return [with_suffix(part, suffix) for part in value]
    if isinstance(value, dict):
        return {name: with_suffix(part, suffix) for name, part in value.items()}
    return value


def marked(suffix: str) -> Report:
    report = make()
    values = {each.name: with_suffix(getattr(report, each.name), suffix) for each in fields(report)}
    values["sheets"] = [
        replace(sheet, title=sheet.title + suffix, caption=sheet.caption + suffix)
        for sheet in report.sheets
    ]
    values["figures"] = {name + suffix: value for name, value in report.figures.items()}
    values["seconds"] = {name + suffix: value for name, value in report.seconds.items()}
    return replace(report, **values)


def structure(reader: Reader) -> list[tuple[str, list[str]]]:
    return [(tag, list(attributes)) for tag, attributes in reader.tags]


def test_hostile_text_stays_text_in_every_field() -> None:
    hostile, harmless = read(as_page(marked(HOSTILE))), read(as_page(marked(" harmless")))
    assert structure(hostile) == structure(harmless)
    assert hostile.text.count(HOSTILE) == harmless.text.count(" harmless") > 20


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = as_page(make())
    assert not re.search(r"https?://|<script|<link|@import|url\(|javascript:", page)
    sources = [attributes["src"] for _, attributes in read(page).tags if "src" in attributes]
    assert sources == ["data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()]


def test_the_policy_stands_before_all_that_it_governs() -> None:
    tags = read(as_page(make())).tags
    policies = [each.get("http-equiv") == "Content-Security-Policy" for _, each in tags]
    first_governed = min(at for at, (tag, _) in enumerate(tags) if tag in {"style", "img"})
    assert policies.index(True) < first_governed
    assert tags[policies.index(True)][1]["content"].startswith("default-src 'none';")


@pytest.mark.parametrize("sheets", [0, 1, 3])
def test_tags_are_balanced_and_pictures_have_words(sheets: int) -> None:
    report = make()
    reader = read(as_page(replace(report, sheets=list(report.sheets) * sheets)))
    assert reader.balanced
    assert reader.open == []
    words = [attributes["alt"] for tag, attributes in reader.tags if tag == "img"]
    assert words == ["Samples: The first ten."] * sheets


def test_a_published_dataset_is_called_so_and_why() -> None:
    text = read(as_page(make())).text
    assert "Published" in text
    assert "Quarantined" not in text
    assert "All 2 gates passed." in text
    assert "failed" not in text


def test_a_quarantined_dataset_is_called_so_and_why() -> None:
    text = read(as_page(make(frechet_at_most=50))).text
    assert "Quarantined" in text
    assert "Published" not in text
    assert "1 of 2 gates failed: frechet_5k is 57.2134, not at most 50." in text
    assert "✕ failed" in text


def test_a_verdict_that_was_not_followed_is_pointed_out() -> None:
    passed, failed = make(), make(frechet_at_most=50)
    assert "passed, and yet it was not published." in as_page(replace(passed, published=False))
    assert "at most 50, and yet it was published." in as_page(replace(failed, published=True))


def test_without_gates_the_page_says_so() -> None:
    report = replace(make(), verdict={"passed": True, "results": []})
    assert "There were no gates to pass." in as_page(report)


def test_every_gate_and_every_figure_appears_once_with_what_it_says() -> None:
    text = read(as_page(make())).text
    for name, shown in [("frechet_5k", "57.21"), ("coverage_5k", "0.8182"), ("kernel_5k", "0.041")]:
        assert text.count(name) == 1
        assert text.count(shown) == 1
    assert "at most 60" in text
    assert "Fréchet distance to the held-out split; lower is better" in text
    assert "share of samples that hold one value throughout" in text


def test_figures_without_an_extractor_have_no_floor() -> None:
    judged = make().evaluation
    assert judged is not None
    bare = judged | {"extractor_digest": None, "floor": None, "samples": 0}
    text = read(as_page(replace(make(), evaluation=bare))).text
    assert "Fréchet floor" in read(as_page(make())).text
    assert "Fréchet floor" not in text
    assert "Feature extractor" not in text
    assert "without an extractor" in text


def test_numbers_and_digests_are_short_and_whole_on_hovering() -> None:
    page = as_page(make(figures=FIGURES | {"elbo": -1101.71, "kernel_5k": 1.23456e-05}))
    assert 'title="57.2134">57.21<' in page
    assert 'title="-1101.71">−1,102<' in page
    assert ">1.235e−05<" in page
    assert f'title="{DIGEST}">{DIGEST[:12]}<' in page
    assert DIGEST not in read(page).text


def test_a_figure_that_is_no_number_is_shown_and_stored_as_none(tmp_path: Path) -> None:
    write_report(tmp_path, make(figures=FIGURES | {"frechet_5k": math.nan, "kernel_5k": math.inf}))
    assert (tmp_path / "report.html").read_text().count("no figure<") == 2
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["figures"]["frechet_5k"] is None
    assert stored["evaluation"]["figures"]["kernel_5k"] is None


def test_without_an_evaluation_or_a_known_origin_the_page_says_so() -> None:
    report = make()
    origin = report.model | {"trained_on": None, "code": None}
    text = read(as_page(replace(report, evaluation=None, model=origin))).text
    assert "Nothing was evaluated against held-out data." in text
    assert text.count("not recorded") == 2


def test_commands_and_timings_appear() -> None:
    text = read(as_page(make())).text
    assert "aigc submit nightly.yaml --set seed=7 --yes" in text
    assert "1 min 23 s" in text
    assert "0.05 s" in text


@pytest.mark.parametrize("frechet_at_most", [50.0, 60.0])
def test_the_json_says_the_same_without_the_pictures(
    tmp_path: Path, frechet_at_most: float
) -> None:
    report = make(frechet_at_most)
    write_report(tmp_path, report)
    stored = json.loads((tmp_path / "report.json").read_text())
    sheet = {"title": "Samples", "caption": "The first ten.", "width": 902, "height": 92}
    expected = {each.name: getattr(report, each.name) for each in fields(report)}
    rows = [row.as_dict() for row in gate_rows(report)]
    absent = {"nights": [], "rejected": [], "passages": []}
    kept = {**expected, **absent, "sheets": [sheet | {"group": ""}], "gates": rows}
    assert stored == {"format": 2, **kept}
    word = "Published" if stored["published"] else "Quarantined"
    assert word in read((tmp_path / "report.html").read_text()).text


def test_pictures_beyond_ten_megabytes_are_named_and_left_out() -> None:
    large = [Sheet(f"Sheet {number}", "Large.", bytes(6_000_000), 9, 9) for number in range(2)]
    page = as_page(replace(make(), sheets=large))
    assert len(page) < 10_000_000
    assert "Sheet 1" in page
    assert "This picture of 6.0 MB was left out" in page


def test_writing_again_replaces_both_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_report(tmp_path, make())
    write_report(tmp_path, make(frechet_at_most=50))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert "Quarantined" in (tmp_path / "report.html").read_text()
