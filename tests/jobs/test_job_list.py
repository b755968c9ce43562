"""What `aigc job list` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.workspace import Workspace
from jobs.cli import main

BEGIN = {"name": "vae", "tags": {"aigc.kind": "train", "aigc.steps": "100"}, "parent": None}


def test_the_table_leaves_out_the_name_with_which_the_id_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Workspace.at(tmp_path).run("vae-0123456789")
    run.path.mkdir(parents=True)
    run.outbox.write_text(json.dumps({"time": 1000, "begin": BEGIN}) + "\n")
    words = ["--workspace", str(tmp_path), "job", "list"]

    assert main(words) == 0
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split() == ["ID", "KIND", "STATE", "PROGRESS", "STARTED", "ENDED"]
    assert row.split()[:4] == ["vae-0123456789", "train", "INTERRUPTED", "–"]
    assert main([*words, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "vae"
