from __future__ import annotations

from pathlib import Path

import pytest

from cluster.doctor.contract import Installation
from cluster.workspace import Workspace


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder of its own, and no variable that leads elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("MLFLOW_TRACKING_URI", "AIGC_STORE", "RAY_ADDRESS", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def installation(workspace: Workspace) -> Installation:
    """A workspace that is there and empty, and no known jobs."""
    return Installation(workspace, dict)
