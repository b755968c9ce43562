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
from nights import DIGEST, FIGURES, HOSTILE, PRICES, USAGE, make, with_everything

from aigc.data.catalog import Dataset
from jobs.economics import account
from jobs.report import Incident, Pair, Passage, Rejected, Report, Sheet, write_report
from jobs.report.comparison import gate_rows
from jobs.report.page import as_page
from jobs.report.words import says
from jobs.spec import GENERATION_FIGURES, SCREENING_FIGURES

VOID = {"meta", "img", "br"}


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
    assert ">0.00001235<" in page
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


def full(digits: Dataset) -> Report:
    return with_everything(make(), digits)


def test_everything_on_the_page_is_closed_and_has_words(digits: Dataset) -> None:
    reader = read(as_page(full(digits)))
    assert reader.balanced
    assert all(attributes["alt"] for tag, attributes in reader.tags if tag == "img")
    labels = [each["aria-label"] for tag, each in reader.tags if tag == "svg"]
    assert "frechet_5k over 13 nights: from 57.21 to 57.21, between 57.21 and 60.65" in labels


def test_the_verdict_says_use_cost_and_copies(digits: Dataset) -> None:
    report = full(digits)
    assert (
        "You may use these 10,000 samples; they cost 0.92 EUR, 0.092 EUR per 1,000; none of 10,210 "
        "that were compared copies the training data (12 that did were left out)."
    ) in read(as_page(report)).text
    assert report.copying is not None
    kept = replace(report, published=False, copying=replace(report.copying, kept=3))
    text = read(as_page(kept)).text
    assert "Do not use these 10,000 samples" in text
    assert "3 of them copy the training data." in text
    bare = read(as_page(make())).text
    assert "for want of a price list; nobody looked whether they copy the training data." in bare


def test_value_and_margin_are_told_without_praise(digits: Dataset) -> None:
    report = full(digits)
    assert "worth 10.00 EUR by the spec's own price, and cost 0.92 EUR: a margin of 9.08 EUR." in (
        read(as_page(report)).text
    )
    lost = account(USAGE, PRICES, made=10, accepted=10, published=False)
    assert ": a loss of 0." in read(as_page(replace(report, economics=lost))).text
    unvalued = PRICES.model_copy(update={"value_per_sample": None})
    paid = account(USAGE, unvalued, made=10, accepted=10)
    assert "It pays if a sample is worth more than" in (
        read(as_page(replace(report, economics=paid))).text
    )


def test_gates_stand_beside_earlier_nights_and_the_champion(digits: Dataset) -> None:
    row = gate_rows(full(digits))[0]
    assert row.metric == "frechet_5k"
    assert row.last_night == pytest.approx(57.2134 * 1.04)
    assert row.median == pytest.approx(57.2134 * 1.03)
    assert row.champion == pytest.approx(57.2134 * 0.98)
    assert (row.passed, row.bound) == (True, "at most 60")


def test_gates_stand_beside_nights_that_were_published_as_the_judgement_does(
    digits: Dataset,
) -> None:
    report = full(digits)
    lost = replace(report.nights[-1], published=False, figures={"frechet_5k": 900.0})
    row = gate_rows(replace(report, nights=[*report.nights, lost]))[0]
    assert row == gate_rows(report)[0]


def test_every_figure_of_a_generation_is_explained() -> None:
    assert all(says(name) for name in GENERATION_FIGURES + SCREENING_FIGURES)


def test_copied_spans_are_marked_and_the_rest_is_not(digits: Dataset) -> None:
    page = as_page(full(digits))
    assert "<mark>To be, or not to be</mark>\nthat is &lt;b&gt;quite&lt;/b&gt; a question" in page


def test_hostile_words_stay_words_in_what_is_new(digits: Dataset) -> None:
    hostile, harmless = (
        read(as_page(_named(full(digits), suffix))) for suffix in (HOSTILE, " harmless")
    )
    assert structure(hostile) == structure(harmless)
    assert hostile.text.count(HOSTILE) == harmless.text.count(" harmless") == 9


def _named(report: Report, suffix: str) -> Report:
    assert report.labelling is not None
    assert report.copying is not None
    return replace(
        report,
        passages=[Passage(1, suffix)],
        rejected=[Rejected(1, 0, suffix, suffix)],
        copying=replace(report.copying, rule=suffix, pairs=[Pair(1, 2, 0.1, True, suffix, suffix)]),
        labelling=replace(report.labelling, producer=suffix),
        incidents=[Incident(suffix, suffix)],
    )


def test_the_json_holds_everything_but_pictures(digits: Dataset, tmp_path: Path) -> None:
    write_report(tmp_path, full(digits))
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["copying"]["pairs"][0]["shown"] == {"width": 120, "height": 120}
    assert stored["funnel"]["rejected"] == {"blank": 4, "copied": 12, "repeated": 194}
    assert stored["economics"]["method"].startswith("processors: estimate")
    assert len(stored["nights"]) == 12
    assert stored["gates"][0]["reason"] == "frechet_5k is 57.2134, at most 60"
