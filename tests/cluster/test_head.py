"""A real head of Ray, and the faults of the way there."""

from __future__ import annotations

import ipaddress
import re
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from proxy import Proxy
from ray_head import RayHead, free_port, ray_head

import cluster.head
from cluster.cancellation import ask
from cluster.errors import HandoverUnsettled, HeadDiffers, HeadRefused, HeadUnavailable
from cluster.following import standing_there
from cluster.handover import Handover, hand_over, job_name
from cluster.head import Head, Job, JobRequest, Room
from cluster.head_token import Token
from cluster.package import Package, pack
from cluster.submissions import standing
from cluster.workspace import Workspace

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

ROUTES = (
    ("GET", "/api/version"),
    ("GET", "/api/v0/nodes?detail=1&limit=10000"),
    ("GET", "/api/cluster_status"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/jobs/some"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/jobs/some/stop"),
    ("GET", "/api/jobs/some/logs"),
    ("GET", "/api/packages/gcs/some.zip"),
    ("PUT", "/api/packages/gcs/some.zip"),
)


@pytest.fixture(autouse=True)
def _short_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no token of this machine's user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cluster.head, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def head(ray_cluster: RayHead, monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token or "")
    return Head.at(ray_cluster.address)


@pytest.fixture
def way(ray_cluster: RayHead, head: Head) -> Iterator[tuple[Proxy, Head]]:
    """A way to the head that can be disturbed, and the head behind it."""
    with Proxy(ray_cluster.dashboard) as proxy:
        yield proxy, Head.at(proxy.url)


def request(entrypoint: str = "echo said", name: str | None = None) -> JobRequest:
    return JobRequest(name or f"job-{uuid.uuid4().hex[:8]}", entrypoint, {}, {"aigc": "x"})


def ended(head: Head, name: str) -> Job:
    last = time.monotonic() + 60
    while time.monotonic() < last:
        job = head.job(name)
        assert job is not None
        if job.has_ended:
            return job
        time.sleep(0.1)
    raise AssertionError(f"{name} does not end")


def known(head: Head, name: str) -> int:
    """How many jobs of that name the head has."""
    answer = requests.get(f"{head.address}/api/jobs/", auth=head.token, timeout=30).json()
    return sum(each["submission_id"] == name for each in answer)


def test_each_route_wants_a_token_and_the_right_one(ray_cluster: RayHead, head: Head) -> None:
    for method, path in ROUTES:
        for token, status in ((None, 401), ("wrong", 403)):
            reply = requests.request(
                method, ray_cluster.address + path, auth=Token(token), timeout=30
            )
            assert reply.status_code == status, (method, path, token)


def test_no_route_is_left_out() -> None:
    source = Path(cluster.head.__file__).read_text()
    used = set(re.findall(r"/api/[a-z0-9_]+", source))

    assert used == {found[0] for _, path in ROUTES if (found := re.match(r"/api/[a-z0-9_]+", path))}


def test_a_head_that_can_be_given_a_job(head: Head) -> None:
    head.require()
    (node,) = Room(head).capacity().nodes

    assert (node.cpus, node.cpus_free, node.gpus) == (2, 2, 0)


def test_a_job_runs_and_is_asked_about(head: Head) -> None:
    asked = request("echo said; exit 3")
    assert head.job(asked.submission_id) is None

    head.submit(asked)
    job = ended(head, asked.submission_id)

    assert (job.state, job.metadata) == ("FAILED", {"aigc": "x"})
    assert "exit code 3" in job.message
    assert "said" in head.log(asked.submission_id)
    assert head.log("never") == ""


def test_the_same_request_twice_is_one_job(head: Head) -> None:
    asked = request("sleep 30")
    head.submit(asked)
    again = head.submit(asked)

    assert not again.has_ended
    assert known(head, asked.submission_id) == 1
    head.stop(asked.submission_id)
    assert ended(head, asked.submission_id).state == "STOPPED"


@pytest.mark.parametrize("fault", ["refuse", "reset", "hang", "500"])
def test_a_request_whose_reply_is_lost_is_one_job(
    fault: str, way: tuple[Proxy, Head], head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, disturbed = way
    asked = request()
    ask, faults = Head._ask, [fault]
    monkeypatch.setattr(cluster.head, "ANSWER_SECONDS", 1.0)

    def faulty(self: Head, method: str, path: str, **words: object) -> requests.Response:
        proxy.mode = faults.pop() if method == "POST" and faults else "pass"
        return ask(self, method, path, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Head, "_ask", faulty)
    disturbed.submit(asked)

    assert known(head, asked.submission_id) == 1


def test_a_head_that_falls_silent_may_have_taken_the_job(
    way: tuple[Proxy, Head], head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, disturbed = way
    asked, ask = request(), Head._ask

    def once(self: Head, method: str, path: str, **words: object) -> requests.Response:
        try:
            return ask(self, method, path, **words)  # type: ignore[arg-type]
        finally:
            proxy.mode = "refuse"

    monkeypatch.setattr(Head, "_ask", once)
    with pytest.raises(HandoverUnsettled, match="may have taken the job"):
        disturbed.submit(asked)
    monkeypatch.undo()
    assert known(head, asked.submission_id) == 1


def test_a_package_that_a_restarted_head_has_lost_is_sent_with_the_next_try(
    way: tuple[Proxy, Head], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, disturbed = way
    asked, ask, asks = request(), Head._ask, list[str]()

    def faulty(self: Head, method: str, path: str, **words: object) -> requests.Response:
        asks.append(f"{method} {path.split('/')[2]}")
        if asks.count("POST jobs") == 1 and method == "POST":
            raise requests.ConnectionError("it is starting again")
        return ask(self, method, path, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Head, "_ask", faulty)
    disturbed.submit(asked, pack())
    assert [each for each in asks if each != "PUT packages"] == [
        *("GET packages", "POST jobs", "GET jobs"),
        *("GET packages", "POST jobs", "GET jobs"),
    ]


def test_a_head_that_stays_silent_is_said_to_be(way: tuple[Proxy, Head]) -> None:
    proxy, disturbed = way
    proxy.mode = "refuse"
    for asks in (disturbed.require, disturbed.capacity, lambda: disturbed.submit(request())):
        with pytest.raises(HeadUnavailable, match=re.escape(disturbed.address)):
            asks()


def test_what_is_no_head_is_said_to_be_none(way: tuple[Proxy, Head]) -> None:
    proxy, disturbed = way
    proxy.mode = "500"
    with pytest.raises(HeadUnavailable, match="no head of Ray"):
        disturbed.capacity()


def test_a_port_where_nobody_listens(head: Head) -> None:
    with pytest.raises(HeadUnavailable, match="Check the address and the port"):
        Head.at(f"http://127.0.0.1:{free_port()}").require()


def test_the_port_where_nodes_join_is_told_from_that_of_the_head(ray_cluster: RayHead) -> None:
    with pytest.raises(HeadUnavailable) as raised:
        Head.at(f"http://{ray_cluster.gcs}", tries=1).require()
    assert str(raised.value) == (
        f"no head answers at http://{ray_cluster.gcs}: what answers does not speak HTTP. "
        "Check the address and the port: that of Ray's dashboard, 8265 by default"
    )


def test_another_version_of_ray_is_refused(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.head, "RAY", "2.1.0")
    with pytest.raises(HeadDiffers, match=r"runs Ray \d.*, this is 2\.1\.0"):
        head.require()


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "asks for a token, and there is none"), ("old", "refuses the token of RAY_AUTH")],
)
def test_a_head_that_refuses_us(
    token: str, said: str, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with pytest.raises(HeadRefused, match=said):
        Head.at(head.address).require()


def test_an_open_head_is_refused_unless_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with ray_head(closed=False) as opened:
        with pytest.raises(HeadRefused, match="lets everyone in"):
            Head.at(opened.address).require()
        Head.at(opened.address, insecure=True).require()


def test_a_job_is_cancelled_and_asked_about_while_it_is_handed_over(
    ray_cluster: RayHead, head: Head, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is slow to take it: nobody judges it meanwhile, and the cancelled one is ended."""
    run = workspace.run("slow-0123456789")
    run.path.mkdir(parents=True)
    asked = request("sleep 100", job_name(run, workspace))
    posting, go_on, submit = threading.Event(), threading.Event(), Head.submit

    def slowly(self: Head, request: JobRequest, package: Package | None) -> Job:
        posting.set()
        go_on.wait(30)
        return submit(self, request, package)

    monkeypatch.setattr(Head, "submit", slowly)
    handing = threading.Thread(target=hand_over, args=(head, asked, pack(), run, "kind: train"))
    handing.start()
    assert posting.wait(30)
    assert standing_there(run).reason.startswith("it is being handed to")
    cancelling = threading.Thread(target=ask, args=(run,))
    cancelling.start()
    go_on.set()
    handing.join()
    cancelling.join()
    assert standing(run).state == "CANCELLED"
    assert ended(head, asked.submission_id).state == "STOPPED"


def test_an_id_that_the_head_has_had_is_not_used_again(head: Head, workspace: Workspace) -> None:
    run = workspace.run("again-0123456789")
    run.path.mkdir(parents=True)
    first = request("true", job_name(run, workspace))
    hand_over(head, first, pack(), run, "kind: train")
    ended(head, first.submission_id)
    run.handover.unlink()
    hand_over(head, first, pack(), run, "kind: train")
    note = Handover.of(run)
    assert note is not None
    assert note.job == f"{first.submission_id[:-1]}2"
    assert ended(head, note.job).state == "SUCCEEDED"


def test_a_package_is_taken_once(way: tuple[Proxy, Head]) -> None:
    proxy, disturbed = way
    package = pack()
    disturbed.take(package)
    heard = proxy.heard
    disturbed.take(package)

    assert proxy.heard == heard + 1


BAD_ADDRESSES: dict[str, str] = {
    "head:8265": "no address",
    "ftp://head:8265": "no address",
    "https://": "no address",
    "https://head:99999": "no address",
    "https://head:0": "no address",
    "https://[": "no address",
    "https://head:8265/jobs": "no address",
    "https://head:8265?x=1": "no address",
    "https://me:secret@head:8265": "holds a password",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(HeadRefused, match=BAD_ADDRESSES[address]) as refusal:
        Head.at(address)
    assert "secret" not in str(refusal.value)


def test_nothing_is_sent_in_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> requests.Response:
        raise AssertionError("something was sent")

    monkeypatch.setattr(Head, "_ask", never)
    for address in ("http://192.0.2.1:8265", "http://head:8265", "http://127.0.0.1.evil.org"):
        with pytest.raises(HeadRefused, match="in clear"):
            Head.at(address).require()


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everybody to another place, and remembers what it was told."""

    told: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.told.append(self.headers["Authorization"])
        self.send_response(302)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/trap")  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of loopback on which `Elsewhere` answers, by TLS if there is a context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Elsewhere.told.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_sent_to_this_machine_goes_by_no_proxy(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would see the token."""
    with served() as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        head.require()
    assert Elsewhere.told == []


def test_a_redirection_is_not_followed(head: Head) -> None:
    """The token would go to wherever it leads."""
    with served() as port, pytest.raises(HeadUnavailable, match="no head of Ray"):
        Head.at(f"http://127.0.0.1:{port}").capacity()
    assert len(Elsewhere.told) == 1


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that has signed itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "head")])
    today = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "head.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return file


def test_a_head_without_tls_is_not_taken_for_a_forged_one(ray_cluster: RayHead) -> None:
    plain = Head.at(ray_cluster.address.replace("http:", "https:"))
    with pytest.raises(HeadRefused, match="does not speak TLS"):
        plain.require()


def test_a_certificate_that_nobody_vouches_for_is_refused(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = certificate(tmp_path)
    context.load_cert_chain(file)
    with served(context) as port:
        unknown = Head.at(f"https://127.0.0.1:{port}")
        with pytest.raises(HeadRefused, match="cannot show that it is who it says"):
            unknown.require()
        assert Elsewhere.told == []

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        with pytest.raises(HeadUnavailable, match="no head of Ray"):
            unknown.require()
        # It asks first whether a head lets in who has no token.
        assert Elsewhere.told[0] is None
