"""Whom a schedule tells of what: a webhook, a command or people. Plain data.

Secrets are never in it: it names the environment variables of the engine that hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from aigc.config import Config
from jobs.diagnosis import Contradictions
from jobs.errors import FieldPath, shortened

Event = Literal["failed", "missed", "late", "recovered", "quarantined"]
EVENTS: tuple[Event, ...] = ("failed", "missed", "late", "recovered", "quarantined")

PORTS = {"smtps": 465, "smtp+starttls": 587, "smtp": 25}
"""What an e-mail's server may be reached by, and at which port if none is said."""


def split(url: str) -> SplitResult:
    """The parts of an address. Raises ValueError, without showing it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError:
        raise ValueError("is not an address") from None
    if not parts.hostname:
        raise ValueError("must name a host, as https://example.com/path")
    if parts.password is not None:
        raise ValueError("must hold no password: name the variable that has it")
    return parts


def _is_http(url: str) -> str:
    if split(url).scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    return url


def _is_smtp(url: str) -> str:
    if split(url).scheme not in PORTS:
        raise ValueError(f"must begin with {'://, '.join(PORTS)}://")
    return url


def _is_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text):
        # What stands there may be the secret itself.
        raise ValueError("must be the name of an environment variable, as NIGHT_SECRET")
    return text


def _is_mailbox(text: str) -> str:
    if not re.fullmatch(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+", text) or len(text) > 254:
        raise ValueError(f"must be an e-mail address (got {shortened(text)})")
    return text


Variable = Annotated[str, AfterValidator(_is_variable)]
Mailbox = Annotated[str, AfterValidator(_is_mailbox)]


class Webhook(Config):
    """JSON that is posted, signed by the secret in the variable `secret`.

    An address that is itself a secret stands in the variable `url_from`.
    """

    url: Annotated[str, AfterValidator(_is_http)] | None = None
    url_from: Variable | None = None
    secret: Variable

    @model_validator(mode="after")
    def _has_one_address(self) -> Webhook:
        if (self.url is None) == (self.url_from is None):
            raise Contradictions([((), "must have one of url and url_from")])
        return self


class Email(Config):
    """A mail by the server at smtps://USER@HOST, smtp+starttls:// or smtp://, which is not
    encrypted and takes no password."""

    server: Annotated[str, AfterValidator(_is_smtp)]
    sender: Mailbox
    to: Annotated[tuple[Mailbox, ...], Field(strict=False, min_length=1, max_length=20)]
    password: Variable | None = None

    @model_validator(mode="after")
    def _hides_its_password(self) -> Email:
        parts = urlsplit(self.server)
        if self.password is not None and (parts.scheme == "smtp" or not parts.username):
            message = "needs a server as smtps://USER@HOST, which encrypts it"
            raise Contradictions([(("password",), message)])
        return self


class Channel(Config):
    """One of the three, and what it is told of. `command` reads the JSON from its input."""

    webhook: Webhook | None = None
    command: Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=50)] | None = (
        None
    )
    email: Email | None = None
    on: Annotated[tuple[Event, ...], Field(strict=False, min_length=1)] = EVENTS

    @model_validator(mode="after")
    def _is_one(self) -> Channel:
        if found := tuple(self._contradictions()):
            raise Contradictions(found)
        return self

    def _contradictions(self) -> Iterator[tuple[FieldPath, str]]:
        said = [each for each in (self.webhook, self.command, self.email) if each is not None]
        if len(said) != 1:
            yield (), "must have one of webhook, command and email"

    @property
    def named(self) -> str:
        """What it is called when it does not work. Holds no address that may be a secret."""
        if self.webhook is not None:
            return f"webhook {self.webhook.url_from or split(str(self.webhook.url)).hostname}"
        if self.command is not None:
            return f"command {self.command[0]}"
        return f"email by {split(self.email.server).hostname}" if self.email else "nobody"
