"""Nights that go to a bucket, by the command line."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from object_store import BUCKET, KEY, SECRET, ObjectStore

from aigc.data.importers import import_dataset
from jobs.cli import main
from jobs.specs import SPECS

SPEC = f"""kind: generate
name: night
model: toy@1
count: 20
shard_size: 10
gates: {{blank: {{at_most: 1}}}}
publish: {{dataset: NAME, to: 's3://{BUCKET}/nights'}}
"""


class Said(NamedTuple):
    code: int
    data: Any
    stderr: str


def aigc(workspace: Path, *words: str) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["--workspace", str(workspace), *words])
    assert "fault of aigc" not in err.getvalue()
    return Said(code, json.loads(out.getvalue()) if out.getvalue() else None, err.getvalue())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a registered model."""
    folder = tmp_path_factory.mktemp("workspace")
    import_dataset(folder / "datasets", "digits")
    toy = ("training.steps=4", "evaluation.metrics=[]", "registry={model: toy}")
    changes = [word for each in toy for word in ("--set", each)]
    spec = str(SPECS / "tiny" / "gan.yaml")
    trained = aigc(folder, "submit", spec, "--yes", "--on", "here", *changes, "-o", "json")
    assert trained.code == 0, trained.stderr
    return folder


def submit(workspace: Path, name: str, *changes: str) -> Said:
    spec = workspace / f"{name}.yaml"
    spec.write_text(SPEC.replace("NAME", name))
    words = [word for each in changes for word in ("--set", each)]
    said = aigc(workspace, "submit", str(spec), "--yes", "--on", "here", *words, "-o", "json")
    kept = "".join(log.read_text() for log in workspace.glob("runs/night-*/logs/*.log"))
    assert not any(secret in said.stderr + kept for secret in (KEY, SECRET))
    return said


def on_disk(workspace: Path, name: str) -> dict[str, bytes]:
    (folder,) = (each for each in (workspace / "datasets" / name).iterdir() if each.is_dir())
    hidden = (path for path in folder.rglob("[!.]*") if path.is_file())
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in hidden}


def test_a_night_is_in_the_bucket_as_it_is_in_the_workspace(
    workspace: Path, object_store: ObjectStore
) -> None:
    said = submit(workspace, "good")

    assert said.code == 0, said.stderr
    assert said.data["location"] == f"s3://{BUCKET}/nights/{said.data['dataset'].replace('@', '/')}"
    assert object_store.content("nights/good/") == on_disk(workspace, "good")
    assert len(on_disk(workspace, "good")) == 5
    object_store.seen.clear()
    assert submit(workspace, "good").data["location"] == said.data["location"]
    assert object_store.seen == []


def test_what_is_quarantined_leaves_nothing_there(
    workspace: Path, object_store: ObjectStore
) -> None:
    said = submit(workspace, "bad", "gates={duplicate: {at_least: 1}}")

    assert said.code == 107
    assert "location" not in said.data
    assert object_store.content("nights/bad/") == {}
    # Published under other gates, it is no reason to put it there under these.
    assert submit(workspace, "bad", "publish={dataset: bad}").code == 0
    assert submit(workspace, "bad", "gates={duplicate: {at_least: 1}}", "name=other").code == 107
    assert object_store.content("nights/bad/") == {}


def test_a_silent_store_fails_the_job_and_the_next_time_it_is_only_uploaded(
    workspace: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    said = submit(workspace, "late")

    assert said.code == 100
    assert "warning: cannot reach the store of s3://bucket/nights" in said.stderr
    assert "error: cannot reach the store" in said.stderr
    assert "which uploads what is missing" in said.stderr
    assert aigc(workspace, "data", "verify", "late").code == 0
    before = {path: path.stat().st_mtime_ns for path in workspace.glob("datasets/late/*/**/*")}
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store.url)
    again = submit(workspace, "late")

    assert again.code == 0, again.stderr
    assert before == {
        path: path.stat().st_mtime_ns for path in workspace.glob("datasets/late/*/**/*")
    }
    assert object_store.content("nights/late/") == on_disk(workspace, "late")


def test_a_store_that_replaces_objects_is_refused_before_anything_is_made(
    workspace: Path, object_store: ObjectStore
) -> None:
    object_store.forgetful = True
    said = submit(workspace, "never")

    assert said.code == 2
    assert "replaces objects in spite of If-None-Match" in said.stderr
    assert not (workspace / "datasets" / "never").exists()


def test_wrong_credentials_are_refused_before_anything_is_made(
    workspace: Path, object_store: ObjectStore
) -> None:
    object_store.require_credentials()
    said = submit(workspace, "wrong")

    assert said.code == 2
    assert "InvalidAccessKeyId" in said.stderr
    assert not (workspace / "datasets" / "wrong").exists()


def test_other_content_is_told_and_left(workspace: Path, object_store: ObjectStore) -> None:
    version = submit(workspace, "taken", "publish={dataset: taken}").data["dataset"].split("@")[1]
    place = f"nights/taken/{version}/report.html"
    object_store.client.put_object(Bucket=BUCKET, Key=place, Body=b"other")
    said = submit(workspace, "taken")

    assert said.code == 100
    assert f"{place} is there already, and is not what was to be published" in said.stderr
    assert object_store.content(place) == {"": b"other"}
