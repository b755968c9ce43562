"""A night's report shows what another model makes of the same seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aigc.data.importers import import_dataset
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import execute
from jobs.same_seeds import GROUP
from jobs.session import Session, open_session
from jobs.spec import load
from jobs.specs import SPECS
from jobs.submission import prepare

SPEC = """kind: generate
name: night
model: toy@1
count: 120
shard_size: 50
publish: {dataset: night}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One with two versions of a model, of which none is champion."""
    workspace = Workspace.at(tmp_path_factory.mktemp("seeds"))
    import_dataset(workspace.datasets, "digits")
    session = open_session(workspace, "here", Reporter())
    toy = ("training.steps=4", "evaluation.metrics=[]", "registry={model: toy}")
    for seed in (1, 2):
        spec = load(SPECS / "tiny" / "gan.yaml", [*toy, f"training.seed={seed}"])
        execute(prepare(spec, session), session)
    (workspace.root / "night.yaml").write_text(SPEC)
    return session


def night(session: Session, *changes: str) -> Path:
    """The folder of a night that was published."""
    spec = load(session.workspace.root / "night.yaml", changes)
    outcome = execute(prepare(spec, session), session)
    assert outcome["published"] is True
    return Path(outcome["report"]).parent


def pictures(folder: Path) -> dict[str, str]:
    """The sheets on the page by their titles."""
    page = (folder / "report.html").read_text()
    found = re.findall(r'<img src="(data:[^"]*)"[^>]* alt="([^:"]*):', page)
    return {title: picture for picture, title in found}


def captions(folder: Path) -> dict[str, str]:
    sheets = json.loads((folder / "report.json").read_text())["sheets"]
    return {sheet["title"]: sheet["caption"] for sheet in sheets if sheet["group"] == GROUP}


def test_each_night_stands_beside_the_one_before_and_the_champion(session: Session) -> None:
    first = night(session)
    made_by_the_first = pictures(first)["Generated"]
    assert captions(first) == {}

    second = night(session, "model=toy@2")
    shown = pictures(second)
    assert shown["Last night"] == made_by_the_first
    assert shown["Tonight"] == shown["Generated"] != made_by_the_first
    assert "toy@1" in captions(second)["Last night"]
    assert "toy@2 from the seeds of night@" in captions(second)["Tonight"]

    session.tracking.client.set_registered_model_alias("toy", "champion", "1")
    third = night(session, "model=toy@2", "seed=7")
    shown = pictures(third)
    assert shown["Tonight"] == shown["Last night"] == pictures(second)["Generated"]
    assert shown["Generated"] != shown["Tonight"]
    assert "the same model" in captions(third)["Last night"]
    assert shown["Champion"] == made_by_the_first
    assert not list(session.workspace.root.glob("runs/*/champion-*"))


def test_a_first_night_stands_beside_the_champion(session: Session) -> None:
    session.tracking.client.set_registered_model_alias("toy", "champion", "1")
    alone = night(session, "model=toy@2", "publish.dataset=alone")
    champions = night(session, "model=toy@champion", "publish.dataset=champions")

    assert list(captions(alone)) == ["Tonight", "Champion"]
    assert pictures(alone)["Champion"] == pictures(champions)["Generated"]
    assert captions(champions) == {}


def test_a_night_is_published_though_the_one_before_cannot_be_read(session: Session) -> None:
    before = night(session, "publish.dataset=damaged")
    (shard, *_) = sorted(before.glob("shards/*"))
    shard.write_bytes(b"")
    after = night(session, "publish.dataset=damaged", "seed=1")

    report = json.loads((after / "report.json").read_text())
    assert captions(after) == {}
    (incident,) = report["incidents"]
    assert incident["what"] == "the same seeds could not be compared"
    assert shard.name in incident["said"]
