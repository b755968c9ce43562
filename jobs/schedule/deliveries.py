"""A notice on its way to a webhook, a command or a mailbox: one try, that takes a bounded time.

What is raised holds no secret, and no text of a library's error either, which may show an address.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import smtplib
import ssl
import subprocess
import time
from contextlib import suppress
from email.message import EmailMessage
from urllib.parse import unquote

from pydantic import ValidationError

from aigc.errors import FactoryError
from cluster.notices import Notice
from jobs.schedule.channels import PORTS, Channel, Email, Webhook, split

SECONDS = 10
"""For an answer of a webhook or of a mail server."""
COMMAND_SECONDS = 60
SIGNED = "v1"
"""How it is signed: the HMAC-SHA256 of the time stamp, a full stop and the body."""


class Undelivered(FactoryError):
    """A notice did not arrive, or nobody knows whether it did."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "It is tried again, less and less often")
        # What pickle calls the class with.
        self.args = (what,)


def deliver(notice: Notice) -> None:
    """Send a notice to its channel. Raises Undelivered."""
    try:
        channel = Channel.model_validate_json(notice.target)
    except ValidationError:
        # A newer program wrote it down: one of those may come next.
        raise Undelivered("this program does not know such a channel") from None
    if channel.webhook is not None:
        _post(channel.webhook, notice.body)
    if channel.command is not None:
        _run(channel.command, notice.body)
    if channel.email is not None:
        _mail(channel.email, notice)


def addressee(notice: Notice) -> str:
    """What the channel of a notice is called. Holds no address that may be a secret."""
    with suppress(ValidationError):
        return Channel.model_validate_json(notice.target).named
    return f"channel {notice.channel}"


def signature(secret: str, stamp: int, body: bytes) -> str:
    """The header Aigc-Signature of a body that is sent with Aigc-Timestamp: `stamp`."""
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    return f"{SIGNED}={signed.hexdigest()}"


def _secret(variable: str) -> str:
    """The value of a variable. Raises Undelivered."""
    found = os.environ.get(variable)
    if not found:
        raise Undelivered(f"the environment of the engine has no {variable}")
    return found


def _post(webhook: Webhook, text: str) -> None:
    import requests

    url = webhook.url or _secret(webhook.url_from or "")
    body, stamp = text.encode(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "aigc",
        "Aigc-Timestamp": str(stamp),
        "Aigc-Signature": signature(_secret(webhook.secret), stamp, body),
    }
    try:
        answer = requests.post(
            url, data=body, headers=headers, timeout=SECONDS, allow_redirects=False, stream=True
        )
        with answer:
            code = answer.status_code
    except (requests.RequestException, ValueError) as error:
        raise Undelivered(f"the webhook does not answer: {type(error).__name__}") from None
    if not 200 <= code < 300:
        raise Undelivered(f"the webhook answers {code}")


def _run(command: tuple[str, ...], text: str) -> None:
    null = subprocess.DEVNULL
    try:
        # In a session of its own: Ctrl-C is meant for the engine, and what it starts ends with it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise Undelivered(f"the command does not start: {type(error).__name__}") from None
    with process:
        try:
            process.communicate(text.encode(), timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Undelivered(f"the command has not ended after {COMMAND_SECONDS} s") from None
    if process.returncode:
        raise Undelivered(f"the command ends with {process.returncode}")


def _mail(email: Email, notice: Notice) -> None:
    parts, message = split(email.server), _message(email, notice)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    password = _secret(email.password) if email.password else None
    try:
        with _server(parts.scheme, host, port) as server:
            if password is not None:
                server.login(unquote(parts.username or ""), password)
            refused = server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        # The last of these is a host or a mailbox that cannot be written in ASCII.
        code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        raise Undelivered(f"the mail is not taken: {type(error).__name__}{code}") from None
    if refused:
        raise Undelivered(f"the mail is not taken for {', '.join(sorted(refused))}")


def _server(scheme: str, host: str, port: int) -> smtplib.SMTP:
    """A connection as the address asks for it. Raises OSError, SMTPException."""
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=SECONDS)
    if scheme == "smtp+starttls":
        try:
            # Raises where the server does not offer it: nothing is sent in the clear.
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _message(email: Email, notice: Notice) -> EmailMessage:
    said = json.loads(notice.body)
    message = EmailMessage()
    message["Subject"] = f"[aigc] {said['schedule']} of {said['due']}: {said['event']}"
    message["From"] = email.sender
    message["To"] = ", ".join(email.to)
    # The same however often it is sent, so that a mailbox can tell.
    own = hashlib.sha256(said["id"].encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{own}@{email.sender.rpartition('@')[2]}>"
    lines = [f"{name}: {value}" for name, value in said.items() if value not in (None, "")]
    message.set_content("\n".join([*lines, "", f"See: aigc schedule history {said['schedule']}"]))
    return message
