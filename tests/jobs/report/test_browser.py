"""The page and the index in a real browser: skipped where there is no Chromium."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nights import FIGURES, HOSTILE, earlier, make, with_everything

from aigc.data.catalog import Dataset
from jobs.report import Passage
from jobs.report.index import as_index
from jobs.report.page import as_page

CONTRAST = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const said = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!said || !element.getClientRects().length) continue;
    const [a, b] = [parts(getComputedStyle(element).color), ground(element)].map(light);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push([element.tagName, element.className, ratio]);
    if (parseFloat(getComputedStyle(element).fontSize) < 12) poor.push([element.tagName, 'tiny']);
  }
  return poor;
}"""


@pytest.fixture
def pages(tmp_path: Path, digits: Dataset) -> dict[str, Path]:
    hostile = [*earlier(9, {name + HOSTILE: value for name, value in FIGURES.items()})]
    report = with_everything(make(), digits)
    failed = with_everything(make(frechet_at_most=50), digits)
    injected = [Passage(1, HOSTILE * 3, [(2, 40)])]
    written = {
        "report": as_page(report),
        "quarantined": as_page(failed),
        "hostile": as_page(make_hostile(report, injected)),
        "index": as_index(HOSTILE, hostile),
    }
    for name, page in written.items():
        (tmp_path / f"{name}.html").write_text(page)
    return {name: tmp_path / f"{name}.html" for name in written}


def make_hostile(report: Any, passages: list[Passage]) -> Any:
    figures = {name + HOSTILE: value for name, value in report.figures.items()}
    return replace(report, dataset=HOSTILE, passages=passages, figures=figures)


@pytest.mark.parametrize("name", ["report", "quarantined", "hostile", "index"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_page_is_quiet_readable_and_as_wide_as_the_screen(
    browser: Any, pages: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = pages[name].as_uri()
    page.goto(address)
    assert said == []
    assert [url for url in asked if url != address and not url.startswith("data:image/png")] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CONTRAST) == []
    assert page.locator("script, img[onerror]").count() == 0
    assert page.locator("img:not([alt])").count() == page.locator("svg:not([aria-label])").count()
    page.close()


def test_a_report_prints(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(pages["report"].as_uri())
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.close()
