"""The report as MLflow's own pages show it: in a frame that may run scripts and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from mlflow_server import MlflowServer
from nights import make, with_everything

from aigc.data.catalog import Dataset
from jobs.report.page import HTML, as_page


@pytest.mark.timeout(300)
def test_mlflow_shows_the_report_with_its_verdict_pictures_and_style(
    browser: Any, server: MlflowServer, digits: Dataset, tmp_path: Path
) -> None:
    (tmp_path / HTML).write_text(as_page(with_everything(make(), digits)))
    client = MlflowClient(server.url)
    run = client.create_run("0").info.run_id
    client.log_artifact(run, str(tmp_path / HTML))

    page = browser.new_page(viewport={"width": 1440, "height": 900})
    said = list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{server.url}/#/experiments/0/runs/{run}/artifacts/{HTML}")
    report = page.frame_locator("iframe")
    report.locator(".banner strong").wait_for(timeout=100_000)

    assert report.locator(".banner strong").inner_text() == "Published"
    assert report.locator(".banner").is_visible()
    assert report.locator("h1").evaluate("it => getComputedStyle(it).fontFamily") != "serif"
    assert report.locator("img").evaluate_all("them => them.every(it => it.naturalWidth > 0)")
    assert report.locator("svg.spark polyline").first.bounding_box()["width"] > 50
    # MLflow asks its own server for a user that this one does not know.
    assert [words for words in said if "status of 404" not in words] == []
    page.close()
