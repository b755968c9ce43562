from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests

from cluster.errors import HeadRefused
from cluster.head_token import FILE, Token, find_token

SECRET = "s3cret-of-the-cluster"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def sent(token: Token) -> str | None:
    request = requests.Request("GET", "https://head", auth=token).prepare()
    return request.headers.get("Authorization")


def test_there_may_be_none() -> None:
    assert not find_token().is_given
    assert sent(find_token()) is None


def test_the_environment_comes_before_the_files(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(Path(FILE).expanduser(), "of-the-home\n")
    assert sent(find_token()) == "Bearer of-the-home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(written(home / "other", "of-the-path\n")))
    assert sent(find_token()) == "Bearer of-the-path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", f"{SECRET}\n")
    assert sent(find_token()) == f"Bearer {SECRET}"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    file = written(Path(FILE).expanduser(), SECRET, mode)
    with pytest.raises(HeadRefused, match=re.escape(f"chmod 600 {file}")):
        find_token()


def test_a_file_that_is_named_has_to_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "gone"))
    with pytest.raises(HeadRefused, match="gone, which is not there"):
        find_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home))
    with pytest.raises(HeadRefused, match="cannot be read"):
        find_token()


@pytest.mark.parametrize("odd", ["two words", "line\nline", "ünicode", "tab\there"])
def test_what_is_no_token_is_refused_and_not_quoted(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", odd)
    with pytest.raises(HeadRefused, match="holds no token") as refusal:
        find_token()
    assert odd not in str(refusal.value)


def test_no_repr_shows_it() -> None:
    assert SECRET not in repr(Token(SECRET))


def test_netrc_does_not_replace_it(home: Path) -> None:
    written(home / ".netrc", "machine head login me password mine\n")
    assert sent(Token(SECRET)) == f"Bearer {SECRET}"
