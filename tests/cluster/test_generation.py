"""Shards are committed once, whoever makes them; what is generated is checked by reading it."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from aigc.data.catalog import Dataset, find, list_datasets, publish
from aigc.data.manifest import MANIFEST, Shard
from aigc.data.shards import shard_of, table_of, write_shard
from aigc.data.verification import verify
from aigc.errors import ArtifactCorrupt, DatasetNotFound, WorkspaceUnwritable
from aigc.generation.plan import ModelReference, Plan
from aigc.layout import Layout
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.gan import GANConfig
from cluster.candidates import ModelAt
from cluster.code import code_digest
from cluster.commits import commit, commit_shard
from cluster.errors import CodeDiffers
from cluster.generation import (
    QUARANTINED,
    Generation,
    ShardRequest,
    check_samples,
    fill_shard,
    publish_checked,
    quarantine,
)
from cluster.places import Here
from cluster.resources import Resources
from cluster.workspace import Workspace

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
PLAIN = Layout(modality="image", shape=(1, 8, 8))
CONFIG = GANConfig(latent_size=8, width=8)


@pytest.fixture
def generation(workspace: Workspace) -> Generation:
    """A generation of 50 samples in three shards, its model in place and nothing made yet."""
    run = workspace.run("night-1")
    digest = save_model(run.model, build(CONFIG, LAYOUT, seed=1), CONFIG, {})
    reference = ModelReference(name="tiny", version=1, digest=digest)
    plan = Plan(
        dataset="night",
        model=reference,
        layout=LAYOUT,
        count=50,
        seed=3,
        shard_size=20,
        code=code_digest(),
    )
    return Generation(plan, workspace, run)


def request(generation: Generation, number: int = 0) -> ShardRequest:
    run = generation.run
    model = ModelAt(run.model, generation.plan.model.digest, use_gpu=False)
    return ShardRequest(generation.plan, number, model, run.attempts, generation.folder)


def filled(generation: Generation) -> Dataset:
    return generation.fill(Here(), Resources(), lambda done: None)


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_shard_is_described_as_it_was_written(generation: Generation) -> None:
    number, shard = fill_shard(request(generation, 2))()

    assert (number, shard.records) == (2, 10)
    assert shard.path == "shards/generated-00002.parquet"
    table = pq.read_table(generation.folder / shard.path)
    assert table.column("sample").to_pylist() == list(range(40, 50))


def test_a_committed_shard_stands(generation: Generation) -> None:
    first = fill_shard(request(generation))()
    path = generation.folder / first[1].path
    before = path.stat()

    assert fill_shard(request(generation))() == first
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(generation.run.attempts.iterdir()) == []


def test_of_attempts_that_race_one_commits_and_all_report_it(generation: Generation) -> None:
    start, found = threading.Barrier(4), list[tuple[int, Shard]]()

    def attempt() -> None:
        start.wait()
        found.append(fill_shard(request(generation))())

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert found[1:] == found[:1] * 3
    assert files(generation.folder) == ["shards/generated-00000.parquet"]
    assert files(generation.run.attempts) == []


def test_a_late_attempt_never_replaces_what_was_committed(tmp_path: Path) -> None:
    late, committed = tmp_path / "attempt", tmp_path / "committed"
    late.write_text("late")
    committed.write_text("first")
    commit(late, committed)

    assert committed.read_text() == "first"


def test_a_late_attempt_reports_the_shard_that_stands(tmp_path: Path) -> None:
    first, late = (
        table_of(torch.full((n, 1, 8, 8), 7, dtype=torch.uint8), None, PLAIN) for n in (3, 2)
    )
    where = tmp_path / "attempts", tmp_path, "shards/x.parquet", "generated"
    stands = commit_shard(first, *where)

    assert stands == shard_of(*where[1:])
    assert commit_shard(late, *where) == stands
    assert files(where[0]) == []


def test_what_the_disk_refuses_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cluster.commits.fsync", refuse)
    table = table_of(torch.zeros((3, 1, 8, 8), dtype=torch.uint8), None, PLAIN)
    with pytest.raises(WorkspaceUnwritable, match="No space left"):
        commit_shard(table, tmp_path / "attempts", tmp_path, "shards/x.parquet", "generated")
    assert files(tmp_path) == []


def test_the_same_plan_gives_the_same_bytes(generation: Generation, tmp_path: Path) -> None:
    _, one = fill_shard(request(generation))()
    _, two = fill_shard(replace(request(generation), target=tmp_path / "elsewhere"))()

    assert one == two


def test_another_model_than_the_planned_one_is_refused(generation: Generation) -> None:
    other = build(CONFIG, LAYOUT, seed=2)
    save_model(generation.run.path / "other", other, CONFIG, {})
    elsewhere = ModelAt(generation.run.path / "other", generation.plan.model.digest, use_gpu=False)
    asked = replace(request(generation), model=elsewhere)

    with pytest.raises(ArtifactCorrupt, match="is not the model of the plan"):
        fill_shard(asked)()
    assert files(generation.folder) == []


def test_a_worker_of_another_version_makes_nothing(generation: Generation) -> None:
    asked = request(generation)
    other = replace(asked, plan=asked.plan.model_copy(update={"code": "0" * 64}))
    with pytest.raises(CodeDiffers, match="Install the same version"):
        fill_shard(other)()
    assert files(generation.folder) == []


def test_filling_makes_every_shard_and_publishes_nothing(generation: Generation) -> None:
    heard: list[int] = []
    dataset = generation.fill(Here(), Resources(), heard.append)

    assert heard == [20, 40, 50]
    assert [shard.records for shard in dataset.manifest.shards] == [20, 20, 10]
    assert not generation.published()
    assert list_datasets(generation.workspace.datasets) == ([], [])
    assert not generation.run.attempts.exists()


def test_filling_again_keeps_the_shards_and_makes_the_missing_ones(generation: Generation) -> None:
    first = filled(generation)
    gone, kept = (first.folder / first.manifest.shards[i].path for i in (1, 2))
    before = kept.stat().st_mtime_ns
    gone.unlink()

    assert filled(generation).manifest.shards == first.manifest.shards
    assert kept.stat().st_mtime_ns == before


def test_what_is_published_is_whole_and_found_by_name(generation: Generation) -> None:
    dataset = filled(generation)
    quarantine(dataset, {"passed": False})
    publish_checked(dataset)

    found = find(generation.workspace.datasets, "night")
    assert found.reference == generation.reference
    assert generation.published()
    assert verify(found) == []
    assert not (found.folder / QUARANTINED).exists()


def test_what_is_quarantined_is_no_dataset(generation: Generation) -> None:
    path = quarantine(filled(generation), {"passed": False})

    kept = json.loads(path.read_text())
    assert kept["verdict"] == {"passed": False}
    assert len(kept["manifest"]["shards"]) == 3
    assert not (path.parent / MANIFEST).exists()
    with pytest.raises(DatasetNotFound):
        find(generation.workspace.datasets, "night")


def test_samples_are_checked_by_reading_them_back(generation: Generation) -> None:
    dataset = filled(generation)
    pixels = dataset.records("generated").stored[:10].clone()
    pixels[0] = 7
    pixels[1] = pixels[2] = pixels[3]
    labels = torch.arange(10)
    shard = write_shard(dataset.folder, "x.parquet", "generated", table_of(pixels, labels, LAYOUT))
    spoilt = Dataset(dataset.folder, dataset.manifest.model_copy(update={"shards": (shard,)}))

    assert check_samples(dataset) == {"blank": 0.0, "duplicate": 0.0}
    assert check_samples(spoilt) == pytest.approx({"blank": 0.1, "duplicate": 0.2})


def test_a_shard_that_was_damaged_meanwhile_is_made_again(generation: Generation) -> None:
    dataset = filled(generation)
    path = dataset.folder / dataset.manifest.shards[0].path
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 3] ^= 1
    path.write_bytes(content)

    assert filled(generation).manifest.shards == dataset.manifest.shards
    assert path.read_bytes() == whole


def test_verify_misses_no_sample_and_no_foreign_one(generation: Generation) -> None:
    dataset = filled(generation)
    twice = (*dataset.manifest.shards[:2], dataset.manifest.shards[0])
    forged = publish(dataset.folder, dataset.manifest.model_copy(update={"shards": twice}))

    problems = " ".join(map(str, verify(forged)))
    assert "is not in the manifest" in problems or "10 samples are missing" in problems


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100])
def test_what_a_crash_left_of_a_shard_is_made_again(generation: Generation, content: bytes) -> None:
    _, whole = fill_shard(request(generation))()
    path = generation.folder / whole.path
    path.write_bytes(content)

    assert fill_shard(request(generation))() == (0, whole)
