"""The head of a Ray cluster, by the HTTP of its Ray Jobs.

A reply that is lost says nothing of what was asked: whether a job was taken is settled by asking
for its id (ray#62766). A head that is given has to ask for a token, since whoever reaches an open
one runs what they like on it (CVE-2023-48022).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import requests

from aigc.errors import first_line
from cluster.errors import HandoverUnsettled, HeadDiffers, HeadRefused, HeadUnavailable
from cluster.head_replies import (
    Disk,
    disks_of,
    last_line,
    node,
    reason_of,
    untrusted,
    usage_by_node,
)
from cluster.head_token import SET_IT, Token, find_token
from cluster.package import Package
from cluster.resources import Capacity, Resources, slots

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
TRIES = 5
"""Of one question, until a head counts as silent."""
PAUSE_SECONDS = 0.5
"""Before the second try; each later one waits twice as long."""
INSECURE = "Use https, or say --insecure-cluster if everyone on the way may read and change it"
WRONG_PORT = "Check the address and the port: that of Ray's dashboard, 8265 by default"
OPEN = (
    "Start it with RAY_AUTH_MODE=token, or say --insecure-cluster if everyone who reaches it may "
    "run what they like there"
)

RAY = version("ray")

JobState = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
ENDED: tuple[JobState, ...] = ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class JobRequest:
    """What a head is asked to run, in the words of Ray Jobs.

    The entrypoint takes none of the cluster's CPUs: four that waited for workers beside themselves
    have starved each other.
    """

    submission_id: str
    entrypoint: str
    runtime_env: dict[str, Any]
    metadata: dict[str, str]
    entrypoint_num_cpus: float = 0

    def as_dict(self) -> dict[str, Any]:
        """The body of the request, as it is sent."""
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """What a head says of a job. `message` is its own words on how that came."""

    state: JobState
    message: str
    metadata: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


@dataclass(frozen=True)
class Head:
    """A head at `address`; `insecure` if the user has said that it need not be safe."""

    address: str
    insecure: bool = False
    token: Token = field(default_factory=find_token)
    tries: int = TRIES

    @classmethod
    def at(cls, address: str, insecure: bool = False, tries: int = TRIES) -> Head:
        """The head at http(s)://HOST[:PORT]. Raises HeadRefused for any other address."""
        try:
            parts = urlsplit(address)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.path.strip("/") or parts.query or parts.fragment:
            raise HeadRefused(f"{shown(address)} is no address of a head", "Say https://HOST:8265")
        if parts.username or parts.password:
            raise HeadRefused("the address of a head holds a password", f"Leave it out. {SET_IT}")
        scheme, _, rest = address.rstrip("/").partition("://")
        return cls(f"{scheme.lower()}://{rest}", insecure, tries=tries)

    def require(self) -> None:
        """Raise HeadRefused, HeadDiffers or HeadUnavailable unless it can be given a job."""
        if not self.insecure and not self._is_private:
            raise HeadRefused(f"{self.address} would send the token and the job in clear", INSECURE)
        self._require_closed()
        if not self.token.is_given and not self.insecure:
            raise HeadRefused(f"{self.address} asks for a token, and there is none", SET_IT)
        there = self._asked("GET", "/api/version").get("ray_version")
        if there != RAY:
            raise HeadDiffers(
                f"{self.address} runs Ray {there}, this is {RAY}",
                "Install the same version on both sides",
            )

    def date(self) -> str | None:
        """What its clock says, as the header of a reply."""
        return self._patiently("GET", "/api/version").headers.get("Date")

    def capacity(self) -> Capacity:
        """Its nodes that are alive. Raises HeadUnavailable, too while it does not know its own."""
        alive = self._asked("GET", "/api/v0/nodes?detail=1&limit=10000")
        status = self._asked("GET", "/api/cluster_status")
        used = usage_by_node(status)
        try:
            rows = [row for row in alive["data"]["result"]["result"] if row["state"] == "ALIVE"]
            nodes = tuple(node(row["resources_total"], used.get(row["node_id"])) for row in rows)
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange(error) from error
        if not nodes:
            raise HeadUnavailable(f"{self.address} has no nodes yet", "Wait until it has started")
        return Capacity(nodes, slots(row["resources_total"] for row in rows))

    def disks(self) -> list[Disk]:
        """Those of its nodes, as far as it knows them. Raises HeadUnavailable."""
        return disks_of(self._asked("GET", "/nodes?view=summary"))

    def job(self, name: str) -> Job | None:
        """What became of a job; None if it knows none of that name. Raises HeadUnavailable."""
        response = self._patiently("GET", _of(name))
        if response.status_code == 404:
            return None
        said = self._decoded(response)
        try:
            return Job(said["status"], said.get("message") or "", said.get("metadata") or {})
        except KeyError as error:
            raise self._strange(error) from error

    def submit(self, request: JobRequest, package: Package | None = None) -> Job:
        """Hand over a job, once, whatever becomes of the replies; one that is there is returned.

        The `package` that it needs goes before it: a head that was restarted has none any more.
        Raises HeadUnavailable, and HandoverUnsettled when nobody can say whether it was taken:
        asking again settles it.
        """
        refusal = ""
        for number in range(self.tries):
            if number:
                time.sleep(_pause(number))
            if package is not None:
                self.take(package)
            try:
                response = self._ask("POST", "/api/jobs/", json=request.as_dict())
                refusal = "" if response.ok else first_line(RuntimeError(last_line(response.text)))
            except requests.RequestException as error:
                refusal = first_line(error)
            if (taken := self._taken(request)) is not None:
                return taken
        raise _unsettled(f"{self.address} does not take the job: {refusal}")

    def _taken(self, request: JobRequest) -> Job | None:
        """The job, if it has it. Raises HandoverUnsettled where that cannot be found out."""
        try:
            return self.job(request.submission_id)
        except HeadUnavailable as error:
            raise _unsettled(f"{error.what}, and may have taken the job") from error

    def stop(self, name: str) -> None:
        """Ask it to end a job, if it has it: with SIGTERM, and some seconds later with SIGKILL."""
        response = self._patiently("POST", f"{_of(name)}/stop")
        if response.status_code != requests.codes.not_found:
            self._decoded(response)

    def log(self, name: str) -> str:
        """All that the job's process has said; empty if it is not known."""
        response = self._patiently("GET", f"{_of(name)}/logs")
        return str(self._decoded(response).get("logs") or "") if response.ok else ""

    def take(self, package: Package) -> None:
        """Give it a package, unless it has it."""
        path = f"/api/packages/gcs/{package.name}"
        if self._patiently("GET", path).status_code == 404:
            self._decoded(self._patiently("PUT", path, data=package.content), empty=True)

    @property
    def _is_private(self) -> bool:
        parts = urlsplit(self.address)
        return parts.scheme == "https" or _is_loopback(parts.hostname or "")

    @property
    def _proxies(self) -> dict[str, Any] | None:
        """None, as the environment says; what is sent in clear to this machine goes by nobody."""
        is_clear = self.address.startswith("http://") and self._is_private
        return dict.fromkeys(("http", "https", "all")) if is_clear else None

    def _require_closed(self) -> None:
        """Raise HeadRefused if it answers without a token, as an open one does."""
        if self.insecure:
            return
        anyone = Head(self.address, token=Token(None), tries=self.tries)
        answer = anyone._patiently("GET", "/api/version", refusable=True)
        if answer.status_code == requests.codes.ok:
            raise HeadRefused(f"{self.address} lets everyone in", OPEN)

    def _asked(self, method: str, path: str) -> dict[str, Any]:
        return self._decoded(self._patiently(method, path))

    def _patiently(
        self, method: str, path: str, refusable: bool = False, data: bytes | None = None
    ) -> requests.Response:
        """The reply, after as many tries as it takes while there is none.

        Raises HeadUnavailable, and HeadRefused for 401 and 403 unless these are `refusable`.
        """
        for number in range(self.tries):
            if number:
                time.sleep(_pause(number))
            try:
                response = self._ask(method, path, data=data)
            except requests.exceptions.SSLError as error:
                raise untrusted(self.address, error) from error
            except requests.RequestException as error:
                silence = reason_of(error)
                continue
            if response.status_code in (401, 403) and not refusable:
                raise self._refusal(response.status_code)
            return response
        raise HeadUnavailable(f"no head answers at {self.address}: {silence}", WRONG_PORT)

    def _ask(
        self, method: str, path: str, json: dict[str, Any] | None = None, data: bytes | None = None
    ) -> requests.Response:
        # A redirection would carry the token to somewhere else.
        return requests.request(
            method,
            self.address + path,
            json=json,
            data=data,
            auth=self.token,
            allow_redirects=False,
            timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            proxies=self._proxies,
        )

    def _refusal(self, status: int) -> HeadRefused:
        if status == 401:
            return HeadRefused(f"{self.address} asks for a token, and there is none", SET_IT)
        return HeadRefused(
            f"{self.address} refuses the token of {self.token.source}",
            f"It may be an old one. {SET_IT}",
        )

    def _decoded(self, response: requests.Response, empty: bool = False) -> dict[str, Any]:
        """The JSON object of a reply, which may be `empty`."""
        try:
            response.raise_for_status()
            said = {} if empty and not response.content else response.json()
        except requests.RequestException as error:
            raise self._strange(error) from error
        if not isinstance(said, dict):
            raise self._strange(TypeError("no JSON object"))
        return said

    def _strange(self, error: Exception) -> HeadUnavailable:
        return HeadUnavailable(
            f"what answers at {self.address} is no head of Ray {RAY}: {reason_of(error)}",
            WRONG_PORT,
        )


@dataclass(frozen=True)
class Room:
    """A head's cluster as a place to plan for: what runs there is started by another process."""

    head: Head
    patience: float = 0.0

    @property
    def name(self) -> str:
        """The address of the head."""
        return self.head.address

    def capacity(self) -> Capacity:
        """What it has at this moment."""
        return self.head.capacity()

    def needs(self, resources: Resources) -> Resources:
        """All of them."""
        return resources


def shown(address: str) -> str:
    """An address as it may be quoted: without what could be a password."""
    return repr(address[:80]) if "@" not in address else "what was given"


def _unsettled(what: str) -> HandoverUnsettled:
    return HandoverUnsettled(what, "Submit the same spec again: it is the same job")


def _of(name: str) -> str:
    return f"/api/jobs/{quote(name, safe='')}"


def _pause(number: int) -> float:
    return PAUSE_SECONDS * 2.0 ** (number - 1)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
