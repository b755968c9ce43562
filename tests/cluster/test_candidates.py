"""Candidates: made once, looked at, and chosen from; what was chosen is the dataset."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigc.data.catalog import Dataset
from aigc.data.verification import verify
from aigc.generation.plan import ModelReference, Plan, Screening
from aigc.generation.scores import AGAINST
from aigc.layout import Layout
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.gan import GANConfig
from cluster.candidates import Chosen, Files
from cluster.code import code_digest
from cluster.commits import commit, is_committed
from cluster.generation import Generation, publish_checked
from cluster.places import Here
from cluster.resources import Resources
from cluster.workspace import Workspace

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
CONFIG = GANConfig(latent_size=8, width=8)
COUNT = 50


def planned(
    workspace: Workspace, name: str, screening: Screening, seed: int = 3, count: int = COUNT
) -> Generation:
    run = workspace.run(f"{name}-1")
    digest = save_model(run.model, build(CONFIG, LAYOUT, seed=1), CONFIG, {})
    plan = Plan(
        dataset=name,
        model=ModelReference(name="tiny", version=1, digest=digest),
        layout=LAYOUT,
        count=count,
        seed=seed,
        shard_size=20,
        code=code_digest(),
        producer="us",
        screening=screening,
    )
    return Generation.pinned(plan, workspace, run)


def made(generation: Generation) -> Dataset:
    screened = generation.choose(Here(), Resources(), lambda done: None)
    assert screened.selection.accepted == generation.plan.count
    return generation.fill(Here(), Resources(), lambda done: None, screened.chosen)


def column(dataset: Dataset, name: str) -> list[object]:
    paths = (dataset.folder / shard.path for shard in dataset.manifest.shards)
    return [value for path in paths for value in pq.read_table(path).column(name).to_pylist()]


def test_a_night_repeats_no_sample_of_an_earlier_one(workspace: Workspace) -> None:
    first = made(planned(workspace, "first", Screening(budget=COUNT)))
    publish_checked(first)
    earlier = Screening(earlier=(first.reference,), budget=2 * COUNT)
    second = made(planned(workspace, "second", earlier))

    assert column(second, "sample") == list(range(COUNT))
    assert set(column(first, "attempt")) == {0}
    assert set(column(second, "attempt")) >= {1}, "the same seeds were not made again"
    assert not set(column(first, "image")) & set(column(second, "image"))
    publish_checked(second)
    assert verify(second) == []


def test_what_was_rejected_is_found_in_its_files(workspace: Workspace) -> None:
    first = made(planned(workspace, "first", Screening(budget=COUNT)))
    publish_checked(first)
    both = Screening(earlier=(first.reference,), budget=2 * COUNT)
    screened = planned(workspace, "second", both).choose(Here(), Resources(), lambda done: None)
    rejected = [(each.sample, each.attempt) for each in screened.selection.rejected]
    assert len({sample // 20 for sample, _ in rejected}) > 1, "they lie in several files"

    for most in (7, COUNT):
        found = screened.rejected(most)
        pairs = zip(
            *(found.column(each).to_pylist() for each in ("sample", "attempt")), strict=True
        )
        assert [*pairs] == rejected[:most]


def test_a_file_of_accepted_candidates_is_the_shard_and_is_not_written_again(
    workspace: Workspace,
) -> None:
    first = made(planned(workspace, "first", Screening(budget=0), count=30))
    publish_checked(first)
    earlier = Screening(earlier=(first.reference,), budget=COUNT)
    generation = planned(workspace, "second", earlier)
    second = made(generation)

    paths = [second.folder / shard.path for shard in second.manifest.shards]
    files = list(generation.run.candidates.rglob("*.parquet"))
    # Of the second shard, half are remade.
    assert [any(path.samefile(file) for file in files) for path in paths] == [True, False, True]
    kept = [pq.read_schema(path).metadata for path in paths]
    assert kept[0] == kept[1] == kept[2]
    publish_checked(second)
    assert verify(second) == []


def test_what_is_chosen_is_what_is_made_without_a_choice(workspace: Workspace) -> None:
    screened = made(planned(workspace, "screened", Screening(budget=0)))
    plain = planned(workspace, "plain", Screening(budget=0))
    direct = plain.fill(Here(), Resources(), lambda done: None, ())
    for name in ("image", "label", "sample", "seed", "attempt"):
        assert column(screened, name) == column(direct, name)
    assert set(screened.manifest.columns) == {
        *("image", "label", "sample", "seed", "attempt"),
        *("fingerprint", "thumbnail", "neighbour", "distance", "media_sha256", "AIGC"),
    }


def test_a_plan_that_was_written_down_is_kept_though_there_are_more_nights(
    workspace: Workspace,
) -> None:
    first = planned(workspace, "night", Screening(budget=5))
    later = planned(workspace, "night", Screening(budget=5, earlier=("night@abc",)))
    assert later.plan == first.plan
    other = planned(workspace, "night", Screening(budget=5), seed=4)
    assert other.plan.seed == 4
    assert planned(workspace, "night", Screening(budget=5), seed=4).plan == other.plan


def _fill(night: Generation) -> None:
    """Without `planned`, which writes the model anew beneath the others."""
    made(Generation.pinned(night.plan, night.workspace, night.run))


def test_workers_that_are_killed_at_any_moment_leave_the_planned_samples(
    workspace: Workspace,
) -> None:
    """Several processes make the same night at once, and most of them die on the way."""
    night = planned(workspace, "night", Screening(budget=COUNT))
    spawn, chance = multiprocessing.get_context("fork"), random.Random(0)
    for _ in range(12):
        pair = [spawn.Process(target=_fill, args=(night,)) for _ in range(2)]
        for each in pair:
            each.start()
        time.sleep(chance.uniform(0.0, 0.3))
        for each in pair:
            assert each.pid is not None
            os.kill(each.pid, signal.SIGKILL)
            each.join()
    late = spawn.Process(target=_fill, args=(night,))
    late.start()
    dataset = made(night)
    late.join()

    assert column(dataset, "sample") == list(range(COUNT))
    publish_checked(dataset)
    assert verify(dataset) == []


@pytest.mark.parametrize(
    "broken",
    [
        lambda whole: b"",
        lambda whole: b"PAR1",
        lambda whole: b"x" * 100,
        lambda whole: whole[:300] + bytes([whole[300] ^ 1]) + whole[301:],
    ],
    ids=["empty", "begun", "another", "a bit"],
)
def test_candidates_that_a_crash_left_broken_are_made_again(
    workspace: Workspace, broken: Callable[[bytes], bytes]
) -> None:
    generation = planned(workspace, "night", Screening(budget=COUNT))
    whole = made(generation)
    (first, *_) = sorted(generation.run.candidates.rglob("*.parquet"))
    first.write_bytes(broken(first.read_bytes()))
    for shard in whole.manifest.shards:
        (whole.folder / shard.path).unlink()
    assert made(generation).manifest.shards == whole.manifest.shards


@pytest.mark.parametrize("against", ['{"blanl": [0]}', '{"blank": [999999]}', "{"])
def test_candidates_that_say_what_nobody_understands_are_made_again(
    workspace: Workspace, against: str
) -> None:
    generation = planned(workspace, "night", Screening(budget=COUNT))
    whole = made(generation)
    (first, *_) = sorted(generation.run.candidates.rglob("*.parquet"))
    table = pq.read_table(first)
    metadata = {**table.schema.metadata, AGAINST: against}
    first.unlink()
    pq.write_table(table.replace_schema_metadata(metadata), first)
    for shard in whole.manifest.shards:
        (whole.folder / shard.path).unlink()
    assert made(generation).manifest.shards == whole.manifest.shards


def test_of_each_sample_the_accepted_attempt_is_taken_in_the_order_of_the_samples(
    tmp_path: Path,
) -> None:
    kinds = {"sample": pa.int64(), "attempt": pa.int32()}
    files = (tmp_path / "01-00000.parquet", tmp_path / "00-00000.parquet")
    for file, attempt, samples in ((files[0], 1, [4, 7]), (files[1], 0, [3, 4, 5, 6, 7])):
        rows = [(sample, attempt) for sample in samples]
        columns = [
            pa.array(each, kind)
            for each, kind in zip(zip(*rows, strict=True), kinds.values(), strict=True)
        ]
        pq.write_table(pa.table(columns, names=list(kinds)), file)

    chosen = Chosen(np.array([(3, 0), (4, 1), (6, 0), (7, 1)]), files)
    table = chosen.table()

    assert chosen.file() is None
    assert Chosen(np.array([(3, 0), (4, 0)]), files[1:]).file() is None
    assert Chosen(np.array([(4, 1), (7, 1)]), files[:1]).file() == files[0]
    assert table.column("sample").to_pylist() == [3, 4, 6, 7]
    assert table.column("attempt").to_pylist() == [0, 1, 0, 1]
    assert table.column_names == ["sample", "attempt"]


def test_each_candidate_lies_in_the_file_of_its_attempt_and_part(tmp_path: Path) -> None:
    files = Files(tmp_path, 2, [np.arange(5), np.array([1, 2, 4]), np.array([4])])
    candidates = np.array([(0, 0), (1, 1), (2, 1), (3, 0), (4, 2)])
    found = {each.files: each.candidates.tolist() for each in files.of(candidates)}

    assert found == {
        (tmp_path / "00-00000.parquet",): [[0, 0]],
        (tmp_path / "00-00001.parquet",): [[3, 0]],
        (tmp_path / "01-00000.parquet",): [[1, 1], [2, 1]],
        (tmp_path / "02-00000.parquet",): [[4, 2]],
    }
    assert [*files.of(candidates[:0])] == []


def test_another_memory_is_another_plan(workspace: Workspace) -> None:
    """What samples were compared with is what the plan says."""
    first = planned(workspace, "night", Screening(budget=5, memory="a" * 64))
    other = planned(workspace, "night", Screening(budget=5, memory="b" * 64))
    assert other.plan.screening is not None
    assert other.plan.screening.memory == "b" * 64
    assert other.plan.version != first.plan.version


def test_a_late_attempt_removes_nothing_that_was_committed_meanwhile(tmp_path: Path) -> None:
    file, finished = tmp_path / "committed", tmp_path / "finished"
    file.write_text("broken")
    finished.write_text("whole")

    def stopped_for_hours() -> bool:
        file.unlink()
        commit(finished, file)
        return False

    assert not is_committed(file, stopped_for_hours)
    assert file.read_text() == "whole"
    assert not is_committed(file, lambda: False)
    assert not file.exists()
