"""What the rows of the ledger say, without a store."""

from __future__ import annotations

import getpass

import pytest

from cluster.ledger import Kind, Move, State, line_of, standing, whoever_asks


def moved(
    to: int | None, kind: Kind = "promote", alias: str = "champion", state: State = "done"
) -> Move:
    return Move(0, "digits", alias, None, to, kind, "me@here", "", "", None, None, state)


@pytest.mark.parametrize(
    ("moves", "line"),
    [
        ([], []),
        ([moved(1), moved(2), moved(3)], [1, 2, 3]),
        ([moved(1), moved(2), moved(1, "rollback")], [1]),
        ([moved(1), moved(2), moved(3), moved(2, "rollback"), moved(4)], [1, 2, 4]),
        ([moved(1), moved(2), moved(1), moved(2, "rollback")], [1, 2]),
        ([moved(1), moved(2, state="withdrawn"), moved(3, state="intended")], [1]),
        ([moved(1), moved(2, alias="challenger")], [1]),
        ([moved(1), moved(2, "outside"), moved(None, "outside")], [1, 2]),
    ],
)
def test_the_line_of_champions_ends_with_the_present_one(
    moves: list[Move], line: list[int]
) -> None:
    assert line_of(moves, "champion") == line


def test_an_alias_stands_by_its_last_move_that_was_made() -> None:
    moves = [moved(1), moved(2, alias="challenger"), moved(3, state="intended")]
    assert standing(moves, "champion") == moves[0]
    assert standing(moves, "nobody") is None


def test_who_asks_is_a_user_at_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert whoever_asks().startswith("ada@")

    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert whoever_asks().startswith("uid-")
