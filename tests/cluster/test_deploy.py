"""Dockerfile, compose.yaml and ray-cluster.yaml: valid by the rules of those who read them, and
as far as this machine can start what they start, started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from jsonschema import Draft7Validator
from mlflow.server.security_utils import is_allowed_host_header
from servers import COMPOSE, compose_service, ray_cluster

from aigc import __version__
from cluster.kuberay import cluster_document

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
README = (ROOT / "cluster" / "README.md").read_text()
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
IMAGE = f"aigc-factory:{__version__}"
TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_server_has_authentication_proxied_artifacts_and_postgresql() -> None:
    values = {"POSTGRES_PASSWORD": "p", "MLFLOW_ADMIN_PASSWORD": "a", "MLFLOW_SECRET_KEY": "k"}
    service = compose_service("mlflow", {"0.0.0.0": "127.0.0.1"}, values)

    assert service.command[:3] == ["mlflow", "server", "--host=127.0.0.1"]
    assert {"--app-name=basic-auth", "--serve-artifacts", "--workers=1"} <= {*service.command}
    store = service.environment["MLFLOW_BACKEND_STORE_URI"]
    assert store.startswith("postgresql+psycopg://mlflow@postgres:")
    assert service.environment["PGPASSWORD"] == "p"
    assert service.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert f"database_uri = {store}\n" in service.auth


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    text = COMPOSE.read_text() + DOCKERFILE
    base = re.findall(r"^ *FROM (\S+)", text, flags=re.MULTILINE)

    assert len({*base}) == 1
    for image in [*base, *(service["image"] for service in services)]:
        assert re.search(r":\d+\.\d+", image), image
    (mlflow,) = re.findall(r"^mlflow==(.*)$", CONSTRAINTS, flags=re.MULTILINE)
    assert compose["services"]["mlflow"]["image"] == f"aigc-mlflow:{mlflow}"
    assert compose["services"]["ray-head"]["image"] == IMAGE
    assert compose["services"]["ray-worker"]["image"] == IMAGE


def test_ports_are_of_loopback_and_every_service_is_watched(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["healthcheck"]["test"][0] == "CMD"


def test_no_service_has_a_right_or_a_folder_of_the_machine(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "network_mode", "pid", "devices"} & service.keys()
        assert {volume.split(":")[0] for volume in service["volumes"]} <= compose["volumes"].keys()
        # The user of what is built is said in its Dockerfile.
        assert "build" in service or service["user"] == "postgres"
    assert "USER nobody" in compose["services"]["mlflow"]["build"]["dockerfile_inline"]


def test_no_secret_has_a_default_and_the_readme_names_each(compose: dict[str, Any]) -> None:
    given = [
        (name, value)
        for service in compose["services"].values()
        for name, value in service["environment"].items()
        if re.search("PASSWORD|SECRET|TOKEN", name)
    ]
    assert len(given) == 7
    for _, value in given:
        asked = re.fullmatch(r"\$\{(\w+):\?see cluster/README.md\}", value)
        assert asked is not None, value
        assert asked[1] in README


def test_compose_reads_the_file_and_would_see_a_mistake() -> None:
    text = COMPOSE.read_text()

    assert set(PyCompose.from_yaml(text).to_dict()["services"]) == {
        "postgres",
        "mlflow",
        "ray-head",
        "ray-worker",
    }
    for right, wrong in (("restart:", "restrat:"), ("interval: 5s", "interval: 5q")):
        with pytest.raises(ValueError, match=r"restrat|duration"):
            PyCompose.from_yaml(text.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("mlflow:5000", True), ("127.0.0.1:5000", True), ("localhost:5000", True), ("evil", False)],
)
def test_mlflow_answers_to_the_name_that_the_cluster_asks_by(
    host: str, allowed: bool, compose: dict[str, Any]
) -> None:
    services = compose["services"]
    hosts = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")

    assert is_allowed_host_header(hosts, host) is allowed
    assert services["ray-head"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def lint(path: Path) -> list[str]:
    command = [HADOLINT, "--no-color", "--format=json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [each["code"] for each in json.loads(done.stdout)]


def test_the_dockerfile_has_no_fault_that_hadolint_knows(tmp_path: Path) -> None:
    assert lint(DEPLOY / "Dockerfile") == []

    faulty = tmp_path / "Dockerfile"
    faulty.write_text(
        DOCKERFILE.replace(":3.11.14-slim-bookworm", "").replace("--no-cache-dir ", "")
    )
    assert {*lint(faulty)} == {"DL3006", "DL3042"}


def test_the_image_is_nobody_in_particular_and_has_no_secret() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "useradd --uid 10001 " in DOCKERFILE
    assert not re.search("TOKEN|PASSWORD|SECRET", DOCKERFILE)


def test_the_image_installs_what_is_needed_before_the_code_comes(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (script,) = re.findall(r"^RUN python -c (\".*\") > requirements.txt", DOCKERFILE, re.MULTILINE)
    listed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -c {script}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert listed == [*project["dependencies"], *project["optional-dependencies"]["postgresql"]]
    assert "--constraint constraints.txt --requirement requirements.txt" in DOCKERFILE
    before, after = DOCKERFILE.split("--requirement requirements.txt")
    assert not re.search("^COPY (aigc|cluster|jobs)", before, re.MULTILINE)
    assert "pip install --no-cache-dir --no-deps ." in after


def test_what_is_copied_is_all_that_the_build_reads_and_not_ignored() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {
        name
        for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    }
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    read = {settings["project"]["readme"], *settings["project"]["license-files"], *packages}

    assert copied == {*kept} == read | {"pyproject.toml", "constraints.txt"}
    assert all((ROOT / name).exists() for name in copied)


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    return loaded


def test_the_launchers_file_is_as_ray_publishes(launcher: dict[str, Any]) -> None:
    import ray.autoscaler

    schema = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    launch = Draft7Validator(json.loads(schema.read_text()))

    assert list(launch.iter_errors(launcher)) == []
    assert not launch.is_valid({**launcher, "min_worker": 2})
    assert launcher["docker"]["image"].endswith(f"/{IMAGE}")


def test_the_launchers_cluster_asks_for_a_token_that_stands_in_no_file_here(
    launcher: dict[str, Any],
) -> None:
    assert "--env=RAY_AUTH_MODE=token" in launcher["docker"]["run_options"]
    assert "/home/aigc/.ray/auth_token" in launcher["file_mounts"]
    for role in ("head", "worker"):
        (start,) = [each for each in launcher[f"{role}_start_ray_commands"] if "ray start" in each]
        assert start.startswith('RAY_AUTH_TOKEN="$(cat ~/.ray/auth_token)" ray start ')
    assert "--dashboard-host=127.0.0.1" in launcher["head_start_ray_commands"][1]
    for option in launcher["docker"]["run_options"]:
        assert not option.startswith(("-v", "--volume", "--privileged", "--mount=type=bind"))


def test_no_head_takes_work(compose: dict[str, Any], launcher: dict[str, Any]) -> None:
    head = cluster_document()["spec"]["headGroupSpec"]

    assert "--num-cpus=0" in compose["services"]["ray-head"]["command"]
    assert "--num-cpus=0" in launcher["head_start_ray_commands"][1]
    assert head["rayStartParams"]["num-cpus"] == "0"


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    # Not tmp_path, which is too long for Ray's sockets.
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as folder,
        ray_cluster(TOKEN, Path(folder)) as address,
    ):
        yield address


def answer(url: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


@pytest.mark.ray
@pytest.mark.parametrize(("token", "status"), [(None, 401), ("0" * 64, 403), (TOKEN, 200)])
@pytest.mark.parametrize("route", ["/api/version", "/api/jobs/", "/api/cluster_status"])
def test_the_head_that_compose_starts_asks_for_the_token(
    route: str, token: str | None, status: int, dashboard: str
) -> None:
    assert answer(f"{dashboard}{route}", token) == status
