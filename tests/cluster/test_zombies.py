"""Workers die, and others end late: every planned sample is published once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aigc.data.catalog import find
from aigc.data.verification import verify
from cluster.workspace import Workspace

SCRIPT = Path(__file__).parents[1] / "fixtures" / "zombies.py"


@pytest.mark.parametrize("shards", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_no_sample_is_lost_or_there_twice(tmp_path: Path, shards: int) -> None:
    made = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(shards), "8"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    counts = json.loads(made.stdout)
    dataset = find(Workspace.at(tmp_path).datasets, "night")
    folder = dataset.folder / "shards"
    ids = [
        sample
        for name in sorted(each.name for each in folder.iterdir())
        for sample in pq.read_table(folder / name, columns=["sample"]).column("sample").to_pylist()
    ]

    assert ids == list(range(shards * 20 - 7))
    assert verify(dataset) == []
    # As many as the chances are, or the test shows nothing.
    attempts = sum(counts[each] for each in ("made", "killed", "zombie"))
    assert counts["killed"] >= attempts * 0.06
    assert counts["zombie"] >= attempts * 0.03
    assert counts["left"] > 0
