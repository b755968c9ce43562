"""compose.yaml: what it must not have, and that the servers of the tests are those it starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import COMPOSE, compose_service

CONSTRAINTS = (Path(__file__).parents[2] / "constraints.txt").read_text()
README = (Path(__file__).parents[2] / "cluster" / "README.md").read_text()


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_server_has_authentication_proxied_artifacts_and_postgresql() -> None:
    values = {"POSTGRES_PASSWORD": "p", "MLFLOW_ADMIN_PASSWORD": "a", "MLFLOW_SECRET_KEY": "k"}
    service = compose_service({"0.0.0.0": "127.0.0.1"}, values)

    assert service.command[:3] == ["mlflow", "server", "--host=127.0.0.1"]
    assert {"--app-name=basic-auth", "--serve-artifacts", "--workers=1"} <= {*service.command}
    store = service.environment["MLFLOW_BACKEND_STORE_URI"]
    assert store.startswith("postgresql+psycopg://mlflow@postgres:")
    assert service.environment["PGPASSWORD"] == "p"
    assert service.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert f"database_uri = {store}\n" in service.auth


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    base = re.findall(r"^ +FROM (\S+)", COMPOSE.read_text(), flags=re.MULTILINE)

    assert base
    for image in [*base, *(service["image"] for service in services)]:
        assert re.search(r":\d+\.\d+", image), image
    (mlflow,) = re.findall(r"^mlflow==(.*)$", CONSTRAINTS, flags=re.MULTILINE)
    assert compose["services"]["mlflow"]["image"] == f"aigc-mlflow:{mlflow}"


def test_ports_are_of_loopback_and_every_service_is_watched(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["healthcheck"]["test"][0] == "CMD"


def test_no_secret_has_a_default_and_the_readme_names_each(compose: dict[str, Any]) -> None:
    given = [
        (name, value)
        for service in compose["services"].values()
        for name, value in service["environment"].items()
        if re.search("PASSWORD|SECRET", name)
    ]
    assert len(given) == 4
    for _, value in given:
        asked = re.fullmatch(r"\$\{(\w+):\?see cluster/README.md\}", value)
        assert asked is not None, value
        assert asked[1] in README
