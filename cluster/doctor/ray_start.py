"""What stands in the way of a Ray that is started here."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cluster.doctor.contract import Finding, Installation, ok, problem, warning

PORTS = {6379: "a head", 8265: "a dashboard", 10001: "a server of clients"}
"""Where a Ray of somebody else listens."""
CONNECT_SECONDS = 0.5
SOCKET_BYTES = 107
"""The longest name of a Unix socket."""
LONGEST_SOCKET = "/ray/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store"


def look(installation: Installation) -> Iterator[Finding]:
    """What is set, what listens, and what a start needs."""
    yield judge_variables(os.environ)
    yield judge_ports([port for port in PORTS if listens(port)])
    yield judge_host(socket.gethostname(), address_of(socket.gethostname()))
    yield judge_scratch(scratch(os.environ))


def listens(port: int) -> bool:
    """Whether somebody listens on that port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def address_of(host: str) -> str | None:
    """The address that the machine's own name stands for, if it does."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return None


def scratch(environment: Mapping[str, str]) -> Path:
    """Where Ray keeps the sockets of a session, and its logs."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp")


def judge_variables(environment: Mapping[str, str]) -> Finding:
    """Variables by which Ray goes elsewhere, or lets everybody in."""
    if address := environment.get("RAY_ADDRESS"):
        parts = urlsplit(address)
        # Without what may stand before the host.
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else address
        advice = "Unset it: scripts that start a Ray join that one, while aigc starts its own"
        return warning("variables", f"RAY_ADDRESS is {shown}", advice)
    if (mode := environment.get("RAY_AUTH_MODE", "token")) != "token":
        advice = "Unset it, or everyone who reaches its ports can run code here"
        return warning("variables", f"RAY_AUTH_MODE is {mode}", advice)
    return ok("variables", "none leads Ray elsewhere, and it asks for a token")


def judge_ports(taken: Sequence[int]) -> Finding:
    """Whether a Ray runs here already, of whose use of the machine ours knows nothing."""
    if taken:
        listening = " and ".join(f"{PORTS[port]} on {port}" for port in taken)
        advice = "Both count the whole machine as theirs: end it if it is not needed"
        return warning("other Ray", f"something listens as {listening}", advice)
    return ok("other Ray", f"nobody listens on {', '.join(map(str, PORTS))}")


def judge_host(name: str, address: str | None) -> Finding:
    """Whether workers that go by this machine's name find it."""
    if address is None:
        advice = f"Add a line to /etc/hosts: 127.0.1.1 {name}"
        return problem("host name", f"{name} stands for no address", advice)
    return ok("host name", f"{name} is {address}")


def judge_scratch(folder: Path) -> Finding:
    """Whether the names of Ray's sockets are short enough there."""
    length = len(os.fsencode(folder)) + len(LONGEST_SOCKET)
    if length > SOCKET_BYTES:
        found = (
            f"Ray's sockets in {folder} have names of {length} bytes, and may have {SOCKET_BYTES}"
        )
        return problem("sockets", found, "Set RAY_TMPDIR to a short path, as /tmp")
    return ok("sockets", f"they lie in {folder}")
