from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import MlflowServer, mlflow_server
from proxy import Proxy

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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server: starting one takes seconds, so they share it."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands before the server, and is where MLFLOW_TRACKING_URI leads to."""
    with Proxy(server.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        yield proxy
