"""The credentials of an MLflow server: MLflow's own variables, or MLflow's own file.

MLflow reads MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or
~/.mlflow/credentials. None may stand in an address: those are shown, logged and compared.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds, read_mlflow_creds
from mlflow.utils.rest_utils import http_request
from requests import HTTPError

from cluster.errors import CredentialsRefused

PROBE_SECONDS = 3.0
FILE = "~/.mlflow/credentials"
_SET_THEM = (
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write both to "
    f"{FILE} with mode 0600, or set MLFLOW_TRACKING_TOKEN"
)
_STATUS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}


def require_private(address: str) -> None:
    """Raise CredentialsRefused if the address holds a secret, or if others may read the file.

    An address that is refused is not quoted.
    """
    parts = urlsplit(address)
    is_server = parts.scheme in ("http", "https")
    # A database needs the user in its address; MLflow's servers take theirs from elsewhere.
    secret = parts.password or (is_server and parts.username) or "password" in parse_qs(parts.query)
    if secret:
        elsewhere = _SET_THEM if is_server else "Set PGPASSWORD, or write it to ~/.pgpass"
        raise CredentialsRefused(
            "MLFLOW_TRACKING_URI holds a password, which would be shown and logged with it",
            f"Take it out of the address. {elsewhere}",
        )
    file = Path(FILE).expanduser()
    if is_server and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise CredentialsRefused(
            f"the credentials in {file} can be read by other users of this machine",
            f"chmod 600 {file}",
        )


def require_accepted(address: str) -> None:
    """Raise CredentialsRefused if a server answers there and refuses our credentials.

    Of a server that does not answer nothing is known: it is left to whoever needs it.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        return
    with suppress(MlflowException):
        response = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(address),  # type: ignore[no-untyped-call]
            "/api/2.0/mlflow/experiments/search",
            "POST",
            json={"max_results": 1},
            max_retries=0,
            timeout=PROBE_SECONDS,
            raise_on_status=False,
        )
        if response.status_code in _STATUS.values():
            raise refusal(response.status_code)


def refused_status(error: BaseException) -> int | None:
    """401 or 403 if it is the credentials that the server refuses."""
    if isinstance(error, MlflowException):
        return _STATUS.get(error.error_code)
    if isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
        return status if status in _STATUS.values() else None
    return None


def refusal(status: int) -> CredentialsRefused:
    """The error of a server that answers 401 or 403."""
    given = read_mlflow_creds()
    if status == 403:
        return CredentialsRefused(
            f"MLflow does not let the user {given.username} do that",
            "Ask its administrator for the permission",
        )
    if given.username and given.password:
        return CredentialsRefused(f"MLflow refuses the password of {given.username}", _SET_THEM)
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return CredentialsRefused("MLflow refuses the token in MLFLOW_TRACKING_TOKEN", _SET_THEM)
    return CredentialsRefused("MLflow asks for a user and a password", _SET_THEM)
