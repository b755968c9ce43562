"""Jobs on the Ray of compose.yaml: one handed over as its README says, and a rendered one.

There is no Kubernetes here: the test does what the pods' mounts and the operator's request do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import ray_cluster

from aigc.data.importers import import_dataset
from cluster.kuberay import SPEC_ANNOTATION
from cluster.workspace import Workspace
from jobs.cli import main

TOKEN = "0123456789abcdef" * 4
SPEC = """kind: train
name: 8x8-rendered
data: {dataset: digits}
model: {family: gan, latent_size: 8, width: 8}
training: {steps: 8, batch_size: 64}
resources: {workers: 2}
"""

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    opened = Workspace.at(tmp_path / "workspace")
    import_dataset(opened.datasets, "digits")
    return opened


@pytest.fixture
def job(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "asked.yaml").write_text(SPEC)
    words = ["submit", str(tmp_path / "asked.yaml"), "--render", "kuberay"]
    assert main(["--workspace", str(workspace.root), *words]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ray-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> Iterator[str]:
    with ray_cluster(TOKEN, folder) as address:
        yield address


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, content, headers)) as answer:
        return json.load(answer)


def ended(url: str) -> Any:
    """What Ray says of a job that is over."""
    while (told := call(url))["status"] in ("PENDING", "RUNNING"):
        time.sleep(0.5)
    return told


def test_a_rendered_job_trains_on_the_workers(
    job: Any, workspace: Workspace, dashboard: str, tmp_path: Path
) -> None:
    spec = job["spec"]
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]
    (tmp_path / "spec.yaml").write_text(head["metadata"]["annotations"][SPEC_ANNOTATION])
    (container,) = head["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    places = {"/workspace": workspace.root, "/etc/aigc": tmp_path}
    entrypoint = spec["entrypoint"]
    for there, here in places.items():
        entrypoint = entrypoint.replace(there, str(here))

    given["AIGC_WORKSPACE"] = str(workspace.root)
    request = {"entrypoint": entrypoint, "submission_id": spec["jobId"]}
    call(f"{dashboard}/api/jobs/", {**request, "runtime_env": {"env_vars": given}})
    told = ended(f"{dashboard}/api/jobs/{spec['jobId']}")
    said = call(f"{dashboard}/api/jobs/{spec['jobId']}/logs")["logs"]

    assert told["status"] == "SUCCEEDED", said
    outcome = json.loads(workspace.run(spec["jobId"]).outcome.read_text())
    assert outcome["submission"] == spec["jobId"]
    assert outcome["run_id"]


def test_the_head_takes_a_job_that_stands_on_stdin(
    workspace: Workspace, dashboard: str, folder: Path
) -> None:
    # What a command in the head's container has.
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    given["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    command = ["-m", "jobs", "--workspace", str(workspace.root), "submit", "/dev/stdin"]
    done = subprocess.run(
        [sys.executable, *command, "--on", dashboard],
        input=SPEC.replace("8x8-rendered", "8x8-handed"),
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (ended_well,) = (workspace.root / "runs").glob("8x8-handed-*/outcome.json")
    assert json.loads(ended_well.read_text())["run_id"]
