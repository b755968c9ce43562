"""What the samples of a night are compared with: what the model has learned from, all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from aigc.data.catalog import find
from aigc.data.files import sha256_of
from aigc.data.importers import Options, import_dataset
from aigc.generation.screening import Memory
from aigc.training.tensors import HASHES, PLAIN, TENSORS
from cluster.candidates import MemoryRequest, remember
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import execute
from jobs.session import Session, open_session
from jobs.source import parse
from jobs.spec import check
from jobs.submission import prepare

TRAIN = """kind: train
name: teller
data: {dataset: tale, mixture: {rhymes: 0.25}}
model: {family: attention, width: 16, depth: 1, heads: 2}
training: {steps: 2, batch_size: 16}
registry: {model: teller}
"""
GENERATE = """kind: generate
name: night
model: teller@1
count: 20
evaluation: {data: {dataset: letters}}
screening: {nights: 0, budget: 1}
gates: {blank: {at_most: 1}}
publish: {dataset: told}
"""


def write(path: Path, word: str) -> Path:
    path.write_text("\n".join(f"{word} {at} {at * at} {at % 7}." for at in range(400)))
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One with three texts, and a model that has learned from two of them."""
    root = tmp_path_factory.mktemp("screened")
    workspace = Workspace.at(root / "workspace")
    for name in ("tale", "rhymes", "letters"):
        path = write(root / f"{name}.txt", name)
        import_dataset(workspace.datasets, "text", name, path, Options(length=32))
    session = open_session(workspace, "here", Reporter())
    execute(prepare(check(parse(TRAIN.encode(), "train.yaml")), session), session)
    return session


def test_samples_are_compared_with_all_that_the_model_has_learned(session: Session) -> None:
    outcome = execute(prepare(check(parse(GENERATE.encode(), "night.yaml")), session), session)
    report = json.loads(Path(outcome["report"]).with_suffix(".json").read_text())
    names = [find(session.workspace.datasets, name).reference for name in ("tale", "rhymes")]
    assert report["copying"]["compared_with"] == f"the training split of {' and '.join(names)}"
    assert report["copying"]["pairs"]


def test_a_night_that_was_killed_when_it_was_published_is_in_the_index(session: Session) -> None:
    text = GENERATE.replace("count: 20", "count: 21")
    submission = prepare(check(parse(text.encode(), "night.yaml")), session)
    outcome = execute(submission, session)
    index = Path(outcome["report"]).parent.parent / "index.html"
    before = index.read_text()
    index.unlink()
    submission.run.outcome.unlink()
    assert execute(submission, session)["published"] is True
    assert index.read_text() == before
    assert not submission.run.memory.exists()


def requested(session: Session, target: Path) -> MemoryRequest:
    return MemoryRequest(session.workspace.datasets, ["tale", "rhymes"], target)


def test_what_was_mixed_in_is_remembered(session: Session, tmp_path: Path) -> None:
    remember(requested(session, tmp_path / "memory"))
    remembered = Memory.load(tmp_path / "memory").records.stored
    datasets = [find(session.workspace.datasets, name) for name in ("tale", "rhymes")]
    each = [dataset.records("train").stored for dataset in datasets]
    assert torch.equal(remembered, torch.cat(each))


def test_a_memory_of_an_older_program_is_made_anew(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    digest = remember(requested(session, folder))
    plain = json.loads((folder / PLAIN).read_bytes())
    del plain["limit"]
    (folder / PLAIN).write_text(json.dumps(plain))
    hashes = {name: sha256_of(folder / name) for name in (TENSORS, PLAIN)}
    (folder / HASHES).write_text(json.dumps(hashes))
    assert remember(requested(session, folder)) == digest
