"""What `aigc job list` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.handover import Handover
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


def listed(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert main(["--workspace", str(root), "job", "list", "-o", "json", *words]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_the_newest_of_a_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, end in enumerate(("FINISHED", "FAILED", "FINISHED", "FINISHED")):
        run = Workspace.at(tmp_path).run(f"vae-{number}")
        run.path.mkdir(parents=True)
        lines = [{"time": number, "begin": BEGIN}, {"time": number, "end": end}]
        run.outbox.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    newest = listed(tmp_path, capsys, "--state", "SUCCEEDED", "--limit", "2")
    assert [each["id"] for each in newest] == ["vae-3", "vae-2"]
    assert [each["id"] for each in listed(tmp_path, capsys, "--limit", "1")] == ["vae-3"]
    assert listed(tmp_path, capsys, "--state", "RUNNING") == []


def test_what_was_handed_to_a_head_that_is_gone_is_listed_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        run = Workspace.at(tmp_path).run(f"vae-{number}")
        run.path.mkdir(parents=True)
        run.spec.write_text("kind: train\nname: vae\n")
        Handover("http://127.0.0.1:9", False, f"vae-{number}-x", number, 0).write(run)

    assert main(["--workspace", str(tmp_path), "job", "list"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[:3] == ["vae-1", "train", "PENDING"]
    (warning,) = said.err.splitlines()
    assert warning.startswith("warning: what is PENDING there may have ended: no head answers at")
