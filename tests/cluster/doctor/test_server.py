"""A real MLflow server with authentication, and what may stand between it and us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxy import Proxy
from servers import MlflowServer

from cluster.doctor.contract import Check, Finding, Installation
from cluster.doctor.examination import examine
from cluster.doctor.server import Reply, judge_artifacts, judge_silence, judge_version, look

Findings = dict[str, Finding]


@pytest.fixture
def between(guarded_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands before the server, for whom our credentials are set."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", str(guarded_server.username))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", str(guarded_server.password))
    with Proxy(int(guarded_server.uri.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield proxy


def found(installation: Installation) -> Findings:
    return {finding.name: finding for finding in look(installation)}


def test_a_server_that_works_is_told_of(installation: Installation, between: Proxy) -> None:
    findings = found(installation)

    assert {finding.grade for finding in findings.values()} == {"ok"}
    assert set(findings) == {"server", "clock", "credentials", "artifacts"}
    assert findings["artifacts"].found == "they travel through the server"


def test_a_wrong_password_is_a_problem_and_is_not_shown(
    installation: Installation, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary")
    findings = found(installation)

    assert findings["credentials"].grade == "problem"
    assert "MLflow refuses the password of admin (401)" in findings["credentials"].found
    assert "canary" not in str(findings)


@pytest.mark.parametrize(
    ("mode", "name", "said"),
    [
        ("refuse", "server", "nobody listens there"),
        ("500", "server", "answers with 500"),
        ("403", "credentials", "does not let the user admin do that (403)"),
        ("404", "server", "not as an MLflow server does"),
        ("reset", "server", "ends the connection without an answer"),
    ],
)
def test_what_is_wrong_is_told_apart(
    mode: str,
    name: str,
    said: str,
    installation: Installation,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.doctor.server.ANSWER_SECONDS", 30)
    between.mode = mode
    finding = found(installation)[name]

    assert finding.grade == "problem"
    assert said in finding.found
    assert finding.advice


def test_a_server_that_hangs_is_left_before_the_check_is(
    installation: Installation, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.doctor.server.ANSWER_SECONDS", 0.2)
    between.mode = "hang"
    (area,) = examine(installation, [Check("mlflow", look, seconds=20)])

    assert [finding.name for finding in area.findings] == ["server"]
    assert "says nothing within" in area.findings[0].found


@pytest.mark.parametrize(
    ("version", "grade"),
    [
        ("3.17.2", "ok"),
        ("3.18.0", "ok"),
        ("3.9.0", "warning"),
        ("2.22.0", "problem"),
        ("<html>", "problem"),
    ],
)
def test_versions_that_do_not_go_together_are_told(version: str, grade: str) -> None:
    assert judge_version("http://it", Reply(200, version, None, {}), "3.17.2").grade == grade


@pytest.mark.parametrize(
    ("locations", "grade"),
    [
        ({}, "ok"),
        ({"Default": "mlflow-artifacts:/0", "other": "/tmp"}, "ok"),
        ({"aigc": "s3://bucket/1", "Default": "mlflow-artifacts:/0"}, "warning"),
        ({"aigc": "file:///var/mlflow/1"}, "problem"),
        ({"aigc": "/var/mlflow/1"}, "problem"),
    ],
)
def test_artifacts_have_to_come_to_every_worker(locations: dict[str, str], grade: str) -> None:
    assert judge_artifacts(locations).grade == grade


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "… (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]",
            "trusted",
        ),
        ("… (Caused by SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version", "TLS"),
        ("… Failed to resolve 'nowhere.invalid' ([Errno -2])", "a name that is not known"),
        ("… (Caused by Strange('of\nlines'))", "fails: Strange('of lines'))"),
    ],
)
def test_the_words_of_the_client_are_understood(said: str, told: str) -> None:
    assert told in judge_silence("https://it", said).found
