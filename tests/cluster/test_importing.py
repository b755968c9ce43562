"""Imports on a real local Ray, by Ray Data, against the same imports in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc.data.catalog import Dataset
from aigc.data.files import sha256_of
from aigc.data.importers import Options, plan_import, run_import
from aigc.data.importers.contract import Part
from aigc.data.importers.importing import Import, Map
from aigc.errors import DataError, ImportRefused
from cluster.errors import JobFailed
from cluster.importing import HERE_BYTES, mapping, place_of


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Map]:
    with mapping("local", tmp_path_factory.mktemp("ray")) as spread:
        yield spread


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of two classes, one broken, one twice, one nearly twice, one with a strange name."""
    folder = tmp_path / "pictures"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    source = np.random.default_rng(0)
    for number in range(60):
        pixels = source.integers(1, 255, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number:02d}.png")
    Image.fromarray(pixels).save(folder / "a" / "again.png")
    Image.fromarray(pixels + 1).save(folder / "a" / "nearly.png")
    (folder / "b" / "broken.png").write_bytes(b"\x89PNG")
    with open(os.fsencode(folder) + b"/b/\xff.png", "wb") as file:
        file.write(b"strange")
    return folder


def files(dataset: Dataset) -> dict[str, str]:
    return {
        str(path.relative_to(dataset.folder)): sha256_of(path)
        for path in sorted(dataset.folder.rglob("*.parquet"))
    }


@pytest.mark.ray
def test_a_cluster_gives_the_same_bytes(
    spread: Map, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aigc.data.importers.folders.PART_FILES", 8)
    plan = plan_import("images", "pets", pictures)
    assert len(plan.parts) == 8
    here, _ = run_import(tmp_path / "here", plan)
    there, _ = run_import(tmp_path / "there", plan, spread)

    assert files(there) == files(here)
    assert "near-duplicates.parquet" in files(there)
    assert there.manifest.digest == here.manifest.digest
    assert there.manifest.source == here.manifest.source
    assert there.manifest.version == here.manifest.version


@pytest.mark.ray
def test_an_error_of_the_importer_is_its_own_sentence(spread: Map, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image\nx\n")
    plan = plan_import("csv", "made", tmp_path, Options(column="picture", shape=(1, 4, 4)))

    with pytest.raises(ImportRefused, match="no column 'picture'"):
        run_import(tmp_path / "d", plan, spread)
    assert list((tmp_path / "d").rglob("*")) == []


def failing(kind: str) -> str:
    if kind == "own":
        raise DataError("what", "next")
    if kind == "foreign":
        raise ZeroDivisionError(kind)
    return kind


@pytest.mark.ray
def test_errors_of_the_work_are_told_apart(spread: Map) -> None:
    assert sorted(spread(failing, ["b", "a", "c"])) == ["a", "b", "c"]
    assert list(spread(failing, [])) == []
    with pytest.raises(DataError, match="what"):
        list(spread(failing, ["a", "own"]))
    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        list(spread(failing, ["a", "foreign"]))


@dataclass(frozen=True)
class DiesOnce:
    """Kills the process that it runs in, the first time."""

    mark: Path

    def __call__(self, number: int) -> int:
        if number == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number


@pytest.mark.ray
def test_the_work_of_a_lost_worker_is_done_again(spread: Map, tmp_path: Path) -> None:
    assert sorted(spread(DiesOnce(tmp_path / "died"), range(6))) == list(range(6))
    assert (tmp_path / "died").exists()


def of_size(size: int) -> Import:
    plan = plan_import("digits")
    return Import(
        plan.name, plan.kind, plan.importer, plan.options, plan.shares, (Part(bytes=size),)
    )


def test_only_a_large_import_is_worth_a_cluster() -> None:
    assert place_of(plan_import("digits")) == "here"
    assert place_of(of_size(HERE_BYTES - 1)) == "here"
    assert place_of(of_size(HERE_BYTES)) == "local"


def test_here_is_this_process() -> None:
    with mapping("here", Path("/nowhere")) as run:
        assert list(run(lambda number: (number, os.getpid()), [1])) == [(1, os.getpid())]
