from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from servers import Postgres

from cluster.registry import Registry, open_registry
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
def registry(store: Workspace, tracking: Tracking) -> Registry:
    return open_registry(store, tracking)


@pytest.fixture
def name() -> str:
    """A model that no other test has."""
    return f"digits-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def decisions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of decisions in the workspace, or on PostgreSQL, for child processes too."""
    monkeypatch.delenv("AIGC_STORE", raising=False)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
        monkeypatch.setenv("AIGC_STORE", address)
