"""Who is told of what: receivers are real, and so is the store. One that is dead costs nobody."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import select
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from certificates import certificate
from servers import Postgres, free_port
from sqlalchemy import Connection
from trivial import Trivial, dying

from cluster.notices import Notice, Notices
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.tables import TICKS
from cluster.ticks import Ticks
from cluster.workspace import Workspace
from jobs.errors import SpecInvalid
from jobs.schedule import courier as courier_module
from jobs.schedule import deliveries
from jobs.schedule.courier import TRIES, Courier, pause_after
from jobs.schedule.deliveries import signature
from jobs.schedule.engine import Engine
from jobs.schedule.watch import Watch

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SECRET = "canary-3f1b"
STORES = pytest.mark.parametrize("installation", ["sqlite", "postgresql"], indirect=True)


@dataclass
class Receiver:
    """A webhook that keeps what it was posted with, and answers as it is told."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def events(self) -> list[str]:
        return [json.loads(body)["event"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append((dict(self.headers), body))
            self.send_response(kept.answers.pop(0) if kept.answers else 204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Installation:
    """A workspace, its engine and its courier, by a clock that tests set."""

    folder: Path
    now: datetime = NOON
    said: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        workspace = Workspace.at(self.folder / "workspace")
        self.store, self.name = Store.of(workspace), str(workspace.root)
        self.schedules = Schedules(self.store, self.name, self.clock)
        self.ticks = Ticks(self.store, self.name, self.clock)
        self.notices = Notices(self.store, self.name, self.clock)
        self.watch = Watch(self.notices)
        self.courier = Courier(self.notices, self.said.append, self.counted.append)

    def clock(self, connection: Connection) -> datetime:
        return self.now

    def keep(self, schedule: Any) -> None:
        self.schedules.create(schedule.name, schedule.as_document(), True, schedule.next_after)

    def an_hour_later(self, code: int = 0) -> None:
        """The tick of the next hour, whose job ends with that."""
        self.now += HOUR
        jobs = Trivial(self.folder, code)
        engine = Engine(
            self.schedules, self.ticks, jobs, self.said.append, after_pass=self.watch.after_pass
        )
        engine.run(threading.Event(), forever=False)

    def send(self) -> None:
        while self.courier.send_one():
            pass

    def outbox(self) -> list[tuple[str, str]]:
        return [(notice.event, state) for notice, state, _ in self.notices.states()]


@pytest.fixture
def installation(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
        monkeypatch.setenv("AIGC_STORE", address)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return Installation(tmp_path)


def hook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {
        "webhook": {"url": f"http://127.0.0.1:{receiver.port}/hook", "secret": "HOOK_SECRET"},
        **more,
    }


@STORES
def test_a_webhook_hears_of_what_goes_wrong_and_right_again(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver)]))
    for code in (0, 100, 100, 107, 0, 0):
        installation.an_hour_later(code)
    installation.now += 10 * HOUR  # nobody looks: all but the newest are missed
    installation.an_hour_later()
    installation.send()
    told = [
        (body["event"], body["due"][11:13]) for body in (json.loads(b) for _, b in receiver.got)
    ]
    missed = [("missed", f"{hour:02}") for hour in (19, 20, 21, 22, 23, 0, 1, 2, 3, 4)]
    expected = [("failed", "14"), ("failed", "15"), ("quarantined", "16"), ("recovered", "17")]
    assert sorted(told) == sorted([*expected, *missed, ("recovered", "05")])
    headers, body = receiver.got[0]
    stamp = headers["Aigc-Timestamp"]
    signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["Aigc-Signature"] == f"v1={signed}" == signature(SECRET, int(stamp), body)
    assert signature("other", int(stamp), body) != headers["Aigc-Signature"]
    assert json.loads(body)["reason"] == "exit code 100: it was asked to fail"
    installation.send()
    assert len(receiver.got) == 15


def test_only_what_was_asked_for_is_told(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver, on=["recovered"])]))
    installation.an_hour_later(100)
    installation.an_hour_later()
    installation.send()
    assert receiver.events == ["recovered"]


@STORES
def test_a_tick_that_waits_too_long_is_late_once(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver)]))
    installation.now += HOUR
    engine = Engine(installation.schedules, installation.ticks, Trivial(installation.folder), print)
    engine.decide()
    installation.watch.after_pass()
    assert installation.outbox() == []
    for _ in range(2):
        installation.now += 11 * MINUTE
        installation.watch._looked = 0.0
        installation.watch.after_pass()
    installation.send()
    assert receiver.events == ["late"]


def test_a_receiver_that_fails_is_tried_again_and_given_up_in_the_end(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    receiver.answers = [500] * 2
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver)]))
    installation.an_hour_later(100)
    for tries in (1, 2, 3):
        for _ in range(2):  # the second time it is too early
            installation.send()
        assert len(receiver.got) == tries
        installation.now += MINUTE
    assert installation.outbox() == [("failed", "sent")]
    assert installation.counted == ["put off", "put off", "sent"]
    receiver.answers = [500] * TRIES
    installation.an_hour_later(100)
    for _ in range(TRIES + 3):
        installation.send()
        installation.now += timedelta(hours=2)
    assert installation.outbox()[-1] == ("failed", "given up")
    assert len(receiver.got) == 3 + TRIES
    assert "given up after 8 tries: the webhook answers 500" in installation.said[-1]


@STORES
@pytest.mark.parametrize(
    "point",
    ["before._add", "after._add", "after.write_down", "after.claim", "before.settle"],
)
def test_wherever_an_engine_dies_the_notice_is_sent(
    installation: Installation, receiver: Receiver, asking: Any, point: str
) -> None:
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver)]))
    # The first one fails and the second one runs, of which nobody has taken note.
    for code in (100, 0):
        installation.now += HOUR
        jobs = Trivial(installation.folder, code)
        engine = Engine(installation.schedules, installation.ticks, jobs, print)
        engine.run(threading.Event(), forever=False)
    child = os.fork()
    if child == 0:
        try:
            dying(point, installation.notices)
            installation.watch.after_pass()
            installation.courier.send_one()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
    # A notice that was claimed is free again after a while.
    for _ in range(2):
        installation.watch.after_pass()
        installation.send()
        installation.now += courier_module.LEASE + MINUTE
    assert set(receiver.events) == {"failed", "recovered"}
    assert len(receiver.got) <= 3
    assert installation.outbox() == [("failed", "sent"), ("recovered", "sent")]


def test_what_ended_before_there_were_notices_is_told_to_nobody(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", notify=[hook(receiver)]))
    installation.now += HOUR
    jobs = Trivial(installation.folder, 100)
    Engine(installation.schedules, installation.ticks, jobs, print).run(threading.Event(), False)
    with installation.store.transaction() as connection:
        connection.execute(TICKS.update().values(told=True))
    installation.watch.after_pass()
    assert installation.outbox() == []


def test_a_dead_receiver_holds_up_no_tick(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    dead = {"webhook": {"url": f"http://127.0.0.1:{free_port()}/", "secret": "HOOK_SECRET"}}
    installation.keep(asking("0 * * * *", "UTC", notify=[dead, hook(receiver)]))
    installation.an_hour_later(100)
    installation.send()
    installation.an_hour_later()
    installation.send()
    assert receiver.events == ["failed", "recovered"]
    assert installation.outbox().count(("failed", "waiting")) == 1
    assert [each.state for each in installation.ticks.history()] == ["ran", "failed"]


def test_a_command_reads_the_notice(
    installation: Installation, asking: Any, tmp_path: Path
) -> None:
    script = f"import sys; open({str(tmp_path / 'said')!r}, 'a').write(sys.stdin.read())"
    channel = {"command": [sys.executable, "-c", script]}
    failing = {"command": [sys.executable, "-c", "raise SystemExit(3)"]}
    missing = {"command": [str(tmp_path / "no such")]}
    installation.keep(asking("0 * * * *", "UTC", notify=[channel, failing, missing]))
    installation.an_hour_later(100)
    installation.send()
    assert json.loads((tmp_path / "said").read_text())["event"] == "failed"
    reasons = [reason for _, _, reason in installation.notices.states()]
    assert reasons == [
        "",
        "the command ends with 3",
        "the command does not start: FileNotFoundError",
    ]


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(
    installation: Installation, asking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "COMMAND_SECONDS", 1)
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 3> {tmp_path / 'held'}; sleep 600 & wait"
    installation.keep(asking("0 * * * *", "UTC", notify=[{"command": ["sh", "-c", script]}]))
    installation.an_hour_later(100)
    installation.send()
    ((_, state, reason),) = installation.notices.states()
    assert (state, reason) == ("waiting", "the command has not ended after 1 s")
    # It can be read from, to its end, when nobody is left who could write.
    assert select.select([held], [], [], 10)[0] == [held]
    os.close(held)


def test_what_cannot_be_sent_at_all_costs_only_itself(
    installation: Installation, receiver: Receiver, asking: Any
) -> None:
    """A host that no name server can be asked for, and a channel of a newer program."""
    nowhere = {"server": "smtp://a..b", "sender": "a@b.c", "to": ["a@b.c"]}
    installation.keep(asking("0 * * * *", "UTC", notify=[{"email": nowhere}, hook(receiver)]))
    installation.an_hour_later(100)
    newer = Notice("nightly", NOON, "failed", 0, '{"fax": {"number": 7}}', "{}")
    with installation.store.transaction() as connection:
        installation.notices._add(connection, [newer])
    installation.send()
    assert receiver.events == ["failed"]
    reasons = {reason for _, state, reason in installation.notices.states() if state == "waiting"}
    assert reasons == {
        "the mail is not taken: UnicodeError",
        "this program does not know such a channel",
    }


class Mailbox:
    """Keeps the mails that a server takes."""

    def __init__(self, asks: bool) -> None:
        self.asks = asks
        self.mails: list[tuple[list[str], str]] = []

    async def handle_DATA(self, server: object, session: Any, envelope: Any) -> str:
        if self.asks and not session.authenticated:
            return "530 Authentication required"
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


class Encrypted(Controller):
    """With TLS from the first byte, or after STARTTLS; takes one user."""

    def __init__(self, mailbox: Mailbox, context: ssl.SSLContext | None, at_once: bool) -> None:
        words = {"ssl_context": context} if at_once and context else {}
        super().__init__(mailbox, hostname="127.0.0.1", port=free_port(), **words)
        self._context, self._at_once = context, at_once

    def factory(self) -> SMTP:
        if self._context is None:
            return SMTP(self.handler)
        more = {} if self._at_once else {"tls_context": self._context, "require_starttls": True}
        return SMTP(
            self.handler,
            authenticator=lambda server, session, envelope, mechanism, data: AuthResult(
                success=(data.login, data.password) == (b"aigc", SECRET.encode()), handled=False
            ),
            # It knows only of the TLS that STARTTLS begins.
            auth_require_tls=not self._at_once,
            **more,
        )


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls", "smtp"])
def test_a_mail_arrives(
    scheme: str,
    installation: Installation,
    asking: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certified, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certified, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certified))
    plain = scheme == "smtp"
    mailbox = Mailbox(asks=not plain)
    server = Encrypted(mailbox, None if plain else context, scheme == "smtps")
    server.start()
    user = "" if plain else "aigc@"
    email = {
        "server": f"{scheme}://{user}127.0.0.1:{server.port}",
        "sender": "aigc@example.com",
        "to": ["night@example.com", "day@example.com"],
        **({} if plain else {"password": "MAIL_PASSWORD"}),
    }
    try:
        installation.keep(asking("0 * * * *", "UTC", notify=[{"email": email}]))
        installation.an_hour_later(100)
        if not plain:
            installation.send()
            assert "has no MAIL_PASSWORD" in installation.said[-1]
            monkeypatch.setenv("MAIL_PASSWORD", "wrong")
            installation.now += MINUTE
            installation.send()
            assert "SMTPAuthenticationError 535" in installation.said[-1]
            monkeypatch.setenv("MAIL_PASSWORD", SECRET)
            installation.now += MINUTE
        installation.send()
    finally:
        server.stop()
    ((to, text),) = mailbox.mails
    assert to == ["night@example.com", "day@example.com"]
    assert "Subject: [aigc] nightly of 2026-06-10T13:00:00+00:00: failed" in text
    assert "reason: exit code 100: it was asked to fail" in text


def test_no_secret_is_in_the_store_or_in_what_is_said(
    installation: Installation, receiver: Receiver, asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{free_port()}/{SECRET}")
    channel = {"webhook": {"url_from": "HOOK_URL", "secret": "HOOK_SECRET"}}
    installation.keep(asking("0 * * * *", "UTC", notify=[channel, hook(receiver)]))
    installation.an_hour_later(100)
    installation.send()
    assert "HOOK_URL: the webhook does not answer: ConnectionError" in "".join(installation.said)
    kept = [str(vars(notice)) + reason for notice, _, reason in installation.notices.states()]
    rows = [str(vars(each)) for each in installation.ticks.history()]
    assert SECRET not in "".join([*kept, *rows, *installation.said])
    assert all(SECRET not in each.definition for each in installation.schedules.all())
    files = [path.read_bytes() for path in installation.folder.rglob("*") if path.is_file()]
    assert all(SECRET.encode() not in each for each in files)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({}, "must have one of webhook, command and email"),
        ({"command": ["a"], "on": ["faild"]}, "must be one of"),
        ({"command": []}, "notify[0].command: must be a list of at least 1 (got [])"),
        ({"webhook": {"url": "ftp://x/", "secret": "S"}}, "must begin with https:// or http://"),
        ({"webhook": {"url": "https://u:canary@x/", "secret": "S"}}, "must hold no password"),
        (
            {"webhook": {"url": "https://x/", "secret": "canary canary"}},
            "the name of an environment",
        ),
        ({"webhook": {"secret": "S"}}, "must have one of url and url_from"),
        (
            {"email": {"server": "smtp://u@x", "sender": "a@b", "to": ["c@d"], "password": "P"}},
            "needs a server as smtps://USER@HOST",
        ),
        ({"email": {"server": "smtps://x", "sender": "a@b", "to": ["c"]}}, "an e-mail address"),
    ],
)
def test_mistakes_are_named_and_show_no_secret(channel: Any, said: str, asking: Any) -> None:
    with pytest.raises(SpecInvalid) as refused:
        asking(notify=[channel])
    assert said in str(refused.value)
    assert "canary" not in str(refused.value)


def test_tries_are_further_and_further_apart() -> None:
    pauses = [pause_after(tries) for tries in range(1, TRIES)]
    assert pauses[:3] == [timedelta(seconds=each) for each in (5, 15, 45)]
    assert pauses == sorted(pauses)
    assert sum(pauses, timedelta()) < timedelta(hours=2)
