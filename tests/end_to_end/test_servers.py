"""Training, promotion and generation recorded by a real MLflow server on PostgreSQL."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from mlflow.tracking import MlflowClient
from servers import ADMIN, MlflowServer

from jobs.cli import main
from jobs.specs import SPECS

TINY = SPECS / "tiny"
SEEN = ("--set", "evaluation.extractor=tiny-extractor")
"""Figures under an extractor of 20 steps: that of the seeded recipe takes 600."""
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder and an environment without credentials."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)


def aigc(workspace: Path, *words: str, code: int = 0) -> str:
    """One command line in this process; returns everything that it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        ended = main(["--workspace", str(workspace), *words])
    assert ended == code, f"{words} ended with {ended}: {printed.getvalue()}"
    return printed.getvalue()


def submit(spec: str, place: str, *more: str) -> tuple[str, ...]:
    return "submit", str(TINY / f"{spec}.yaml"), "--yes", "--on", place, *more


def password_file(mode: int, password: str) -> None:
    """MLflow's own file of credentials, in the home folder."""
    file = Path.home() / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text(
        f"[mlflow]\nmlflow_tracking_username = {ADMIN}\nmlflow_tracking_password = {password}\n"
    )
    file.chmod(mode)


def test_a_night_is_recorded_by_a_server_that_keeps_the_artifacts(
    open_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", open_server.uri)
    aigc(tmp_path, "data", "import", "digits")
    aigc(tmp_path, *submit("extractor", "here"))
    aigc(tmp_path, *submit("vae", "here", *SEEN))
    aigc(tmp_path, *submit("generate", "here", *SEEN))

    client = MlflowClient(open_server.uri)
    assert client.get_model_version_by_alias("tiny", "champion").version == "1"
    experiment = client.get_experiment_by_name("aigc")
    assert experiment is not None
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (training,) = [run for run in runs if run.info.run_name == "tiny-vae"]
    kept = open_server.artifacts / experiment.experiment_id / training.info.run_id / "artifacts"
    assert (kept / "model" / "tensors.safetensors").is_file()
    assert not (tmp_path / "mlartifacts").exists()
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("username", "password", "sentence"),
    [
        (None, None, "MLflow asks for a user and a password. Set MLFLOW_TRACKING_USERNAME and"),
        (ADMIN, "wrong", f"MLflow refuses the password of {ADMIN}. Set MLFLOW_TRACKING_USERNAME"),
    ],
)
@pytest.mark.parametrize("words", [("model", "list"), submit("vae", "local")])
def test_what_is_wrong_with_the_credentials_is_one_sentence(
    guarded_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    username: str | None,
    password: str | None,
    sentence: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded_server.uri)
    if username is not None and password is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", username)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    printed = aigc(tmp_path, *words, code=2)

    assert printed.splitlines()[-1].startswith(f"error: {sentence}")
    assert "wrong" not in printed


def test_what_a_user_may_not_record_waits_and_is_said_to(
    guarded_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, password = f"reader-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    admin = (ADMIN, guarded_server.password or "")
    requests.post(
        f"{guarded_server.uri}/api/2.0/mlflow/users/create",
        json={"username": name, "password": password},
        auth=admin,
        timeout=10,
    ).raise_for_status()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded_server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", admin[1])
    aigc(tmp_path, "data", "import", "digits")
    client = MlflowClient(guarded_server.uri)
    # Who makes an experiment may write to it: here it is the administrator.
    assert client.get_experiment_by_name("aigc") or client.create_experiment("aigc")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    bare = ("--set", "evaluation.metrics=[]", "--set", "registry.promote={}")
    printed = aigc(tmp_path, *submit("vae", "here", *bare))

    assert f"MLflow does not let the user {name} do that" in printed
    assert "entries wait in" in printed


def test_credentials_are_taken_from_a_file_that_only_its_owner_reads(
    guarded_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded_server.uri)
    password_file(0o600, guarded_server.password or "")
    aigc(tmp_path, "model", "list")

    (Path.home() / ".mlflow" / "credentials").chmod(0o644)
    printed = aigc(tmp_path, "model", "list", code=2)
    assert "can be read by other users of this machine. chmod 600 " in printed


class Canary:
    """Secrets, and everything that a program with them wrote."""

    def __init__(self, server: MlflowServer) -> None:
        self.password, self.token = server.password or "", secrets.token_urlsafe(16)
        self._server = server
        self._written: dict[str, bytes] = {}

    @property
    def secrets(self) -> dict[str, bytes]:
        """What must be nowhere: also the database's password, and the header that is sent."""
        pair = f"{ADMIN}:{self.password}".encode()
        return {
            "password": self.password.encode(),
            "token": self.token.encode(),
            "header": base64.b64encode(pair),
            "database": self._server.postgres.password.encode(),
        }

    def wrote(self, where: str, content: bytes) -> None:
        self._written[where] = content

    def read(self, *folders: Path) -> None:
        """Everything in the folders, in the database, and what the server wrote."""
        for folder in (*folders, self._server.artifacts, self._server.log.parent):
            for file in folder.rglob("*"):
                # The file that compose.yaml mounts is read, not written.
                if file.is_file() and file.name != "auth.ini":
                    self.wrote(str(file), file.read_bytes())
        for (table,) in self._server.postgres.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ):
            rows = self._server.postgres.query(f'SELECT row::text FROM "{table}" AS row')
            self.wrote(f"table {table}", repr(rows).encode())

    def where(self, needle: bytes) -> list[str]:
        """Where it stands."""
        return [where for where, content in self._written.items() if needle in content]


@pytest.fixture
def canary(guarded_server: MlflowServer) -> Canary:
    return Canary(guarded_server)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray writes its logs; its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield Path(folder)


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["here", pytest.param("local", marks=pytest.mark.slow)])
def test_a_secret_is_in_nothing_that_is_written(
    guarded_server: MlflowServer, canary: Canary, tmp_path: Path, ray_folder: Path, place: str
) -> None:
    """A training on Ray, and where the others run."""
    workspace = tmp_path / "workspace"
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": guarded_server.uri,
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": canary.password,
        "MLFLOW_TRACKING_TOKEN": canary.token,
        "RAY_TMPDIR": str(ray_folder),
    }
    user = f"http://{ADMIN}:{canary.password}@"
    spoken = {"MLFLOW_TRACKING_URI": guarded_server.uri.replace("http://", user)}
    wrong = {"MLFLOW_TRACKING_PASSWORD": f"{canary.password}{canary.token}"}
    alone = (
        *("--set", "resources.workers=1", "--set", "evaluation.metrics=[elbo]"),
        *("--set", "registry={model: canary, promote: {better_than_champion: elbo}}"),
    )
    night = ("--set", "model=canary@champion", "--set", "evaluation.metrics=[]")
    diverging = ("--set", "model.optimizer.learning_rate=1e30", "--set", "name=failing")

    def run(words: tuple[str, ...], code: int, changes: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "jobs", "--workspace", str(workspace), "--debug", *words]
        done = subprocess.run(command, env={**environment, **(changes or {})}, capture_output=True)
        assert done.returncode == code, done.stderr.decode()
        canary.wrote(" ".join(words), done.stdout + done.stderr)

    run(("data", "import", "digits"), 0)
    run(submit("vae", "local", *alone), 0)
    run(submit("generate", place, *night), 0)
    run(submit("vae", place, *alone, *diverging), 100)
    run(submit("gan", "here"), 2, spoken)
    run(submit("gan", "here"), 2, wrong)

    canary.read(tmp_path, ray_folder)
    # What is no secret is found in each kind of place, so these were looked at.
    known = "\n".join(canary.where(b"tiny-vae"))
    assert all(place in known for place in ("table runs", "submit", "/artifacts/", "runs/tiny-vae"))
    assert list(ray_folder.rglob("worker-*.err"))
    assert {name: canary.where(secret) for name, secret in canary.secrets.items()} == {
        name: [] for name in canary.secrets
    }
