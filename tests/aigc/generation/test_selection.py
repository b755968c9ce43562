"""Which candidates are in a dataset: the first of each sample that nothing speaks against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.generation.selection import Findings, Looks, Rejected, choose
from aigc.seeding import Integers
from aigc.seeds import derive


def looks(prints: Sequence[int]) -> Looks:
    return Looks(torch.tensor(prints, dtype=torch.int64), torch.empty(len(prints), 0).byte())


def apart(sample: int, attempt: int) -> int:
    """Fingerprints that no two candidates nearly share."""
    return derive(sample, attempt)


def looking(
    blank: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    copied: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    prints: Callable[[int, int], int] = apart,
) -> Callable[[int, Integers], Findings]:
    def look(attempt: int, samples: Integers) -> Findings:
        asked = [(sample, attempt) for sample in samples.tolist()]
        return Findings(
            torch.tensor([each in blank for each in asked]),
            torch.tensor([each in copied for each in asked]),
            looks([prints(*each) for each in asked]),
        )

    return look


def test_what_nothing_speaks_against_is_taken_at_once() -> None:
    selection = choose(20, 0, None, 3, looking())
    assert selection.attempts.tolist() == [0] * 20
    assert selection.accepted == 20
    assert (selection.rejected, selection.made) == ((), 20)


def test_what_is_rejected_is_made_again_from_its_next_seed() -> None:
    selection = choose(5, 10, None, 3, looking(blank={(1, 0), (1, 1)}, copied={(3, 0)}))
    assert selection.attempts.tolist() == [0, 2, 0, 1, 0]
    assert selection.rejected == (
        Rejected(1, 0, "blank"),
        Rejected(3, 0, "copied"),
        Rejected(1, 1, "blank"),
    )
    assert selection.made == 8
    assert selection.reasons == {"blank": 2, "copied": 1}


def test_a_sample_that_repeats_an_accepted_or_an_earlier_one_is_rejected() -> None:
    same = lambda sample, attempt: 7 if sample < 2 and attempt == 0 else apart(sample, attempt)  # noqa: E731
    selection = choose(4, 4, None, 3, looking(prints=same))
    assert selection.rejected == (Rejected(1, 0, "repeated"),)

    earlier = looks([apart(2, 0)])
    selection = choose(4, 4, earlier, 3, looking())
    assert selection.rejected == (Rejected(2, 0, "repeated"),)
    assert selection.attempts[2] == 1


def test_what_the_budget_does_not_hold_is_missing() -> None:
    always = {(2, attempt) for attempt in range(100)}
    selection = choose(4, 3, None, 3, looking(blank=always))
    assert selection.attempts.tolist() == [0, 0, -1, 0]
    assert selection.accepted == 3
    assert selection.made == 7
    assert choose(4, 0, None, 3, looking(blank=always)).made == 4


@given(
    st.integers(1, 40),
    st.integers(0, 40),
    st.sets(st.tuples(st.integers(0, 39), st.integers(0, 5))),
    st.sets(st.tuples(st.integers(0, 39), st.integers(0, 5))),
)
def test_no_more_is_made_than_the_budget_holds_and_all_is_counted(
    count: int, budget: int, blank: set[tuple[int, int]], copied: set[tuple[int, int]]
) -> None:
    selection = choose(count, budget, None, 3, looking(blank, copied))
    assert count <= selection.made <= count + budget
    assert selection.accepted + len(selection.rejected) == selection.made
    assert not {*enumerate(selection.attempts.tolist())} & (blank | copied)
    missing = {*np.flatnonzero(selection.attempts < 0).tolist()}
    assert missing <= {each.sample for each in selection.rejected}
    against = {(each.sample, each.attempt): each.reason for each in selection.rejected}
    assert against == {each: "blank" if each in blank else "copied" for each in against}
    assert against.keys() <= blank | copied
