from __future__ import annotations

from pathlib import Path

import pytest

from cluster.tracking import Tracking
from cluster.workspace import Workspace


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a real MLflow store in it, which tests share."""
    workspace = Workspace.at(tmp_path_factory.mktemp("store"))
    assert Tracking(workspace).client
    return workspace


@pytest.fixture
def tracking(store: Workspace) -> Tracking:
    return Tracking(store)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")
