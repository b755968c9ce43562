from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_jobs import Jobs
from ray_head import RayHead

from aigc.data.importers import import_dataset


@pytest.fixture
def jobs(
    tmp_path: Path,
    ray_cluster: RayHead,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Jobs]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token or "")
    jobs = Jobs(tmp_path / "workspace", ray_cluster, capsys)
    import_dataset(jobs.workspace.datasets, "digits")
    yield jobs
    jobs.stop_all()
