"""The token of a Ray cluster, from where Ray itself looks for it.

RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from requests import PreparedRequest
from requests.auth import AuthBase

from cluster.errors import HeadRefused

FILE = "~/.ray/auth_token"
SET_IT = f"Set RAY_AUTH_TOKEN, or write the token to {FILE} with mode 0600"


class Token(AuthBase):
    """Sends the token along. What a ~/.netrc says of the same machine is left alone."""

    def __init__(self, value: str | None, source: str = "nobody") -> None:
        """`source` is where it was found, which may be said."""
        self._value, self.source = value, source

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = f"Bearer {self._value}"
        return request

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return self._value is not None

    def __repr__(self) -> str:
        return "Token(…)"


def find_token() -> Token:
    """The token of this user. Raises HeadRefused where a file cannot be read, or by too many."""
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return _checked(value, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named or FILE).expanduser()
    try:
        shared = stat.S_IMODE(file.stat().st_mode) & 0o077
        value = file.read_text().strip()
    except FileNotFoundError:
        if not named:
            return Token(None)
        raise HeadRefused(f"RAY_AUTH_TOKEN_PATH names {file}, which is not there", SET_IT) from None
    except (OSError, ValueError) as error:
        raise HeadRefused(f"the token in {file} cannot be read: {error}", SET_IT) from error
    if shared:
        raise HeadRefused(
            f"the token in {file} can be read by other users of this machine", f"chmod 600 {file}"
        )
    return _checked(value, str(file)) if value else Token(None)


def _checked(value: str, source: str) -> Token:
    """A token that a header can hold. One that is refused is not quoted."""
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise HeadRefused(f"{source} holds no token: it has blanks or odd characters", SET_IT)
    return Token(value, source)
