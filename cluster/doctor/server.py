"""The MLflow server that MLFLOW_TRACKING_URI names: whether it can be worked with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cluster.doctor.clocks import judge_clock, seconds_ahead
from cluster.doctor.contract import Finding, Installation, ok, problem, warning
from cluster.doctor.databases import SERVERS

ANSWER_SECONDS = 2.5
"""For one answer; a server that hangs is asked once."""
EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
PROXIED = "mlflow-artifacts:"
START_IT = "Start it, check MLFLOW_TRACKING_URI, or unset it to use the workspace's own store"
TRUST_IT = "Name the certificate of its authority in MLFLOW_TRACKING_SERVER_CERT_PATH"
SILENCES = (
    (
        ("timed out",),
        f"says nothing within {ANSWER_SECONDS:g} s",
        "See whether it is overloaded, or behind a firewall",
    ),
    (("Connection refused",), "is refused: nobody listens there", START_IT),
    (("Failed to resolve",), "has a name that is not known", START_IT),
    (("CERTIFICATE_VERIFY_FAILED",), "has a certificate that is not trusted", TRUST_IT),
    (("SSLError",), "does not speak TLS as it should", "See whether it is http:// there"),
    (
        ("RemoteDisconnected", "Connection reset", "Connection aborted"),
        "ends the connection without an answer",
        "See its log, and whether it is https:// there",
    ),
)
"""What the client says of a server that does not answer, what that means, and what to do."""


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its text, and how far the server's clock is ahead, if it says."""

    status: int
    text: str
    ahead_seconds: float | None
    body: Mapping[str, Any]


def look(installation: Installation) -> Iterator[Finding]:
    """Reach, version, clock, credentials and artifacts. Raises CredentialsRefused."""
    uri = installation.workspace.tracking_uri
    if uri.partition(":")[0] not in SERVERS:
        return
    from mlflow.exceptions import MlflowException

    from cluster.credentials import require_private

    require_private(uri)
    try:
        version = asked(uri, "/version")
        finding = judge_version(uri, version, _own_version())
        yield finding
        if version.ahead_seconds is not None:
            yield judge_clock("clock", version.ahead_seconds, "the server's")
        if finding.grade != "problem":
            experiments = asked(uri, EXPERIMENTS, {"max_results": 1000})
            yield from judge_experiments(experiments)
    except MlflowException as error:
        yield judge_silence(uri.partition("?")[0], str(error))


def asked(uri: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
    """What the server answers, with the credentials that MLflow has. Raises MlflowException."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    began = time.time()
    response = http_request(  # type: ignore[no-untyped-call]
        get_default_host_creds(uri),  # type: ignore[no-untyped-call]
        path,
        "GET" if body is None else "POST",
        json=body,
        max_retries=0,
        timeout=ANSWER_SECONDS,
        raise_on_status=False,
    )
    middle = (began + time.time()) / 2
    try:
        found = response.json()
    except ValueError:
        found = None
    return Reply(
        response.status_code,
        response.text,
        seconds_ahead(response.headers.get("Date"), middle),
        found if isinstance(found, dict) else {},
    )


def judge_version(uri: str, reply: Reply, own: str) -> Finding:
    """Whether it is an MLflow server that ours can work with."""
    where = uri.partition("?")[0]
    if reply.status >= 500:
        advice = "See the server's log"
        return problem("server", f"{where} answers with {reply.status}", advice)
    version = reply.text.strip()
    if reply.status in (401, 403):
        return ok("server", f"{where} answers, and asks who is there")
    if reply.status != 200 or not version[:1].isdigit() or len(version) > 30:
        advice = "Check MLFLOW_TRACKING_URI, and what stands before the server"
        return problem("server", f"{where} answers, but not as an MLflow server does", advice)
    theirs, ours = (_numbers(each) for each in (version, own))
    found = f"MLflow {version} at {where}, {own} here"
    if theirs[:1] != ours[:1]:
        return problem("server", found, "Install the same major version on both sides")
    if theirs < ours[:2]:
        return warning("server", found, "Update the server first, then the clients")
    return ok("server", found)


def judge_experiments(reply: Reply) -> Iterator[Finding]:
    """Whether the server lets us in, its store works, and artifacts travel through it."""
    from cluster.credentials import refusal

    if reply.status in (401, 403):
        error = refusal(reply.status)
        yield problem("credentials", f"{error.what} ({reply.status})", error.next_step)
        return
    if reply.status != 200:
        said = str(reply.body.get("message") or reply.text)
        advice = "See the server's log; after an update of MLflow its database may need one, too"
        answer = f"the server answers with {reply.status}: {' '.join(said.split())[:120]}"
        yield problem("store", answer, advice)
        return
    yield ok("credentials", "the server lets us in")
    yield judge_artifacts(
        {
            str(each.get("name")): str(each.get("artifact_location"))
            for each in reply.body.get("experiments", [])
        }
    )


def judge_artifacts(locations: Mapping[str, str]) -> Finding:
    """Where the server keeps artifacts, by the experiment: ours, or the one that each server has.

    Those that it does not pass on itself have to be reached by every worker.
    """
    location = locations.get("aigc") or locations.get("Default")
    if location is None:
        return ok("artifacts", "of no experiment yet")
    if location.startswith(PROXIED):
        return ok("artifacts", "they travel through the server")
    scheme = urlsplit(location).scheme
    if scheme in ("", "file"):
        advice = "Start the server with --serve-artifacts, and make a new experiment"
        return problem("artifacts", f"they are files of the server's machine: {location}", advice)
    advice = "Give every worker the credentials of that storage, or serve artifacts by the server"
    return warning("artifacts", f"workers write them to {scheme}:// themselves", advice)


def judge_silence(uri: str, said: str) -> Finding:
    """Why there is no answer, by what the client says of it."""
    for words, found, advice in SILENCES:
        if any(word in said for word in words):
            return problem("server", f"{uri} {found}", advice)
    cause = " ".join(said.rpartition("Caused by ")[2].split())
    return problem("server", f"{uri} fails: {cause[:160]}", START_IT)


def _own_version() -> str:
    from mlflow.version import VERSION

    return VERSION


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split(".")[:2] if each.isdigit())
