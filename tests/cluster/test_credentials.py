"""What of an address and of a file is refused before a server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.credentials import FILE, refusal, require_accepted, require_private
from cluster.errors import CredentialsRefused
from cluster.tracking import Tracking
from cluster.workspace import Workspace

SERVER = "https://mlflow.example.com"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder and an environment without credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("https://me:canary@mlflow.example.com", "MLFLOW_TRACKING_PASSWORD"),
        ("https://canary@mlflow.example.com", "MLFLOW_TRACKING_TOKEN"),
        ("postgresql://me:canary@example.com/mlflow", "PGPASSWORD"),
        ("postgresql+psycopg://me@example.com/mlflow?password=canary", "PGPASSWORD"),
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_quoted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, address: str, elsewhere: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    with pytest.raises(CredentialsRefused, match=elsewhere) as raised:
        Tracking(workspace)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "address", [SERVER, "postgresql://me@example.com/mlflow", "sqlite:////folder/mlflow.db"]
)
def test_an_address_without_a_secret_is_taken(address: str) -> None:
    require_private(address)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_file_that_others_can_read_is_refused(mode: int) -> None:
    file = Path(FILE).expanduser()
    file.parent.mkdir()
    file.touch(mode=0o600)
    require_private(SERVER)

    file.chmod(mode)
    with pytest.raises(CredentialsRefused, match="chmod 600"):
        require_private(SERVER)
    require_private("sqlite:////folder/mlflow.db")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "asks for a user and a password"),
        ({"USERNAME": "me", "PASSWORD": "canary"}, "refuses the password of me"),
        ({"TOKEN": "canary"}, "refuses the token in MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_the_error_names_what_was_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    assert sentence in refusal(401).what
    assert "canary" not in str(refusal(401))


def test_of_a_server_that_is_down_nothing_is_said_about_credentials() -> None:
    require_accepted("http://127.0.0.1:9")
