"""aigc submit --render: a document for Kubernetes, and nothing that runs."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from schemas import require_valid

from aigc.data.importers import import_dataset
from cluster.code import CODE_VARIABLE, code_digest
from cluster.kuberay import SPEC_ANNOTATION, OwnCluster
from cluster.workspace import Workspace
from jobs.cli import main
from jobs.errors import SpecInvalid
from jobs.progress import Reporter
from jobs.rendering import rendered
from jobs.session import Planning, open_planning
from jobs.source import Source, parse
from jobs.spec import Train, check
from jobs.submission import Submission, prepare

SPEC = """kind: train
name: large
data: {dataset: digits}
model: {family: gan, latent_size: 8, width: 8}
training: {steps: 8, batch_size: 64}
resources: {workers: 8, cpus_per_worker: 6, gpus_per_worker: 1}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    opened = Workspace.at(tmp_path_factory.mktemp("rendering"))
    import_dataset(opened.datasets, "digits")
    return opened


@pytest.fixture
def planning(workspace: Workspace) -> Planning:
    return open_planning(workspace, OwnCluster(check(source()).resources), Reporter())


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "large.yaml"
    path.write_text(SPEC)
    return path


def submitted(workspace: Workspace, *arguments: object) -> int:
    return main(["--workspace", str(workspace.root), "submit", *map(str, arguments)])


def planned(stderr: str) -> str:
    """The id in a plan."""
    (found,) = re.findall(r"^submission +(\S+)$", stderr, re.MULTILINE)
    return str(found)


def source() -> Source:
    return parse(SPEC.encode(), "large.yaml")


def prepared(planning: Planning) -> Submission:
    return prepare(check(source()), planning, source())


def mistakes(submission: Submission) -> list[str]:
    """What is said of a submission that cannot be rendered."""
    with pytest.raises(SpecInvalid) as refused:
        rendered(submission, source())
    return str(refused.value).splitlines()


def test_what_no_laptop_has_is_rendered_on_one_and_not_run(
    workspace: Workspace, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(workspace, spec, "--render", "kuberay") == 0
    said = capsys.readouterr()
    job = yaml.safe_load(said.out)
    require_valid(job)
    assert job["kind"] == "RayJob"
    assert job["spec"]["jobId"] == planned(said.err)
    assert "a cluster of its own: 8 × (6 CPU and 1 GPU) fits now" in said.err
    for made_by_a_run in ("runs", "ray", "mlflow.db"):
        assert not (workspace.root / made_by_a_run).exists()
    assert submitted(workspace, spec, "--dry-run") == 105


def test_a_queue_of_kueue_is_named_by_an_option_and_changes_no_id(
    workspace: Workspace, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = []
    for words in ([], ["--queue", "a" * 63]):
        assert submitted(workspace, spec, "--render", "kuberay", *words) == 0
        job = yaml.safe_load(capsys.readouterr().out)
        require_valid(job)
        ids.append(job["spec"]["jobId"])

    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "a" * 63
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--render", "kuberay", "--queue", "a" * 64], "at most 63 small letters"),
        (["--render", "kuberay", "--queue", "Night"], "is no name of a queue"),
        (["--render", "kuberay", "--queue", ""], "is no name of a queue"),
        (["--render", "kuberay", "--priority", "5"], "classes with names"),
        (["--queue", "night"], "say --render kuberay"),
    ],
)
def test_what_no_queue_can_have_is_refused(
    words: list[str],
    said: str,
    workspace: Workspace,
    spec: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert submitted(workspace, spec, *words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_the_entrypoint_makes_the_same_submission_of_the_spec_that_it_finds(
    workspace: Workspace, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "resources={workers: 1}", "--set", "training.seed=3"]

    assert submitted(workspace, spec, *settings, "--render", "kuberay", "-o", "json") == 0
    job = json.loads(capsys.readouterr().out)
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    (container,) = head["spec"]["containers"]
    assert {"name": CODE_VARIABLE, "value": code_digest()} in container["env"]
    (tmp_path / "spec.yaml").write_text(head["metadata"]["annotations"][SPEC_ANNOTATION])
    python, module, package, *words = shlex.split(job["spec"]["entrypoint"])
    assert (python, module, package) == ("python", "-m", "jobs")
    words[words.index("--workspace") + 1] = str(workspace.root)
    words[words.index("/etc/aigc/spec.yaml")] = str(tmp_path / "spec.yaml")
    words[words.index("cluster")] = "here"
    assert main([*words, "--dry-run"]) == 0
    assert planned(capsys.readouterr().err) == job["spec"]["jobId"]


def test_a_share_of_a_gpu_is_refused(
    workspace: Workspace, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC.replace("gpus_per_worker: 1", "gpus_per_worker: 0.5"))

    assert submitted(workspace, spec, "--render", "kuberay") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{spec}:6: resources.gpus_per_worker: must be a whole number, as Kub" in said.err


def test_a_dataset_that_is_not_there_and_another_scheduler_are_refused(
    workspace: Workspace, spec: Path
) -> None:
    assert submitted(workspace, spec, "--set", "data.dataset=no", "--render", "kuberay") == 102
    assert submitted(workspace, spec, "--render", "slurm") == 2
    assert submitted(workspace, spec, "--on", "here", "--render", "kuberay") == 2


def test_a_version_that_nobody_else_finds_is_refused(planning: Planning) -> None:
    submission = prepared(planning)
    used = submission.dataset
    assert used is not None
    left = replace(used, folder=used.folder.parent / "left")

    (mistake,) = mistakes(replace(submission, dataset=left))
    assert mistake.startswith("large.yaml:3: data.damaged: must be refuse: ")
    assert mistake.endswith("make it now by aigc data verify NAME --quarantine")


def test_a_spec_that_no_annotation_holds_is_refused(planning: Planning) -> None:
    submission = prepared(planning)
    asked = submission.spec
    assert isinstance(asked, Train)
    mixture = {f"{'a' * 36}{number:04}": 1e-4 for number in range(2000)}
    data = asked.data.model_copy(update={"mixture": mixture})

    (mistake,) = mistakes(replace(submission, spec=asked.model_copy(update={"data": data})))
    assert re.fullmatch(r"large\.yaml:1: has 1\d\d,\d{3} bytes; .* may have 100,000", mistake)
