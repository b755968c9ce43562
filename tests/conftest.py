"""Fixtures that more than one folder uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported: on networks this small a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import servers
import torch
from hypothesis import HealthCheck, settings
from mlflow_server import MlflowServer, mlflow_server
from numbered import Numbered, make_numbered
from proxy import Proxy
from ray_head import RayHead, ray_head
from servers import CannotRun, Postgres

import cluster  # noqa: F401  # Ray reads what it sets: before a test imports Ray
from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset

if TYPE_CHECKING:
    from object_store import ObjectStore

# How fast examples are made says how busy the machine is, and nothing of the code.
settings.register_profile("any load", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("any load")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets that holds the 8×8 digits; not to be written to."""
    root = tmp_path_factory.mktemp("workspace") / "datasets"
    import_dataset(root, "digits")
    return root


@pytest.fixture(scope="session")
def digits(datasets: Path) -> Dataset:
    """The 8×8 digits."""
    return import_dataset(datasets, "digits")[0]


@pytest.fixture
def numbered(tmp_path: Path) -> Numbered:
    """Makes datasets of 1×2×4 images whose bytes are the number of the record."""
    return functools.partial(make_numbered, tmp_path)


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store with S3's interface, to which the environment leads. It is asked twice at most."""
    # A second of imports that few tests need.
    from object_store import KEY, SECRET, ObjectStore

    from cluster import bucket

    with ObjectStore() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setattr(bucket, "ATTEMPTS", 2)
        yield store


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayHead]:
    """A Ray cluster of one node that asks for a token, for the whole session."""
    with ray_head() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the whole session."""
    try:
        with servers.postgres() as running:
            yield running
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def open_server(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.MlflowServer]:
    """An MLflow server that lets everyone in."""
    folder = tmp_path_factory.getbasetemp() / "servers" / "open"
    with servers.mlflow_server(postgres, folder, authentication=False) as running:
        yield running


@pytest.fixture(scope="session")
def guarded_server(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.MlflowServer]:
    """An MLflow server that asks for a user and a password."""
    folder = tmp_path_factory.getbasetemp() / "servers" / "guarded"
    with servers.mlflow_server(postgres, folder, authentication=True) as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server: starting one takes seconds, so they share it."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def _proxy(server: MlflowServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """What stands before the server, and is where MLFLOW_TRACKING_URI leads to.

    Its port stays: MLflow's client remembers it with every run.
    """
    _proxy.mode = "pass"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _proxy.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    return _proxy
