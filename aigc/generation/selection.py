"""Which candidates a generated dataset has: of each sample the first attempt that nothing speaks
against.

A candidate is rejected when it is blank, when it copies what the model was trained on, or when it
nearly repeats another sample, of this dataset or of an earlier one. Its sample is made again from
its next seed, as long as the budget lasts. All of it follows from the plan.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from aigc.generation.screening import near_duplicates

Reason = Literal["blank", "copied", "repeated"]


class Looks(NamedTuple):
    """What N samples look like: `fingerprints` int64, (N,), and `thumbnails` uint8, (N, K)."""

    fingerprints: Tensor
    thumbnails: Tensor

    def and_those_of(self, other: Looks) -> Looks:
        """These, then the others."""
        return Looks(*map(torch.cat, zip(self, other, strict=True)))

    def at(self, rows: Tensor) -> Looks:
        """Those of some rows."""
        return Looks(self.fingerprints[rows], self.thumbnails[rows])


class Findings(NamedTuple):
    """What was found out about N candidates: `blank` and `copied` bool, (N,), and their looks."""

    blank: Tensor
    copied: Tensor
    looks: Looks

    @classmethod
    def joined(cls, parts: Sequence[Findings]) -> Findings:
        """Those of several files, one after the other."""
        blank, copied, looks = zip(*parts, strict=True)
        return cls(
            torch.cat(blank), torch.cat(copied), Looks(*map(torch.cat, zip(*looks, strict=True)))
        )


@dataclass(frozen=True)
class Rejected:
    """A candidate that is in no dataset, and why."""

    sample: int
    attempt: int
    reason: Reason


@dataclass(frozen=True)
class Selection:
    """The attempt of each sample that was accepted, in the order of the samples, what was rejected,
    and how many candidates were made in all."""

    accepted: dict[int, int]
    rejected: tuple[Rejected, ...]
    made: int

    @property
    def reasons(self) -> dict[str, int]:
        """How many were rejected, by reason."""
        return dict(Counter(each.reason for each in self.rejected))


def choose(
    count: int,
    budget: int,
    earlier: Looks | None,
    reach: int,
    look: Callable[[int, Sequence[int]], Findings],
) -> Selection:
    """Choose among candidates of the samples 0 … count − 1; at most `budget` are made beyond these.

    `look` makes the given attempt at the given samples, and finds out about each, in their order.
    `earlier` are samples of other datasets, None where there is none; a sample repeats another one
    of which at most `reach` bits of the fingerprint differ. A round that the budget does
    not hold whole is not begun: its samples stay missing.
    """
    accepted, rejected = dict[int, int](), list[Rejected]()
    known, wanted, made = earlier, list(range(count)), 0
    for attempt in itertools.count():
        found = look(attempt, wanted)
        made += len(wanted)
        known = known or found.looks.at(torch.tensor([], dtype=torch.int64))
        reasons = _reasons(found, known, reach)
        fine = [not reason for reason in reasons]
        known = known.and_those_of(found.looks.at(torch.tensor(fine)))
        accepted |= {each: attempt for each, is_fine in zip(wanted, fine, strict=True) if is_fine}
        again = [
            Rejected(sample, attempt, reason)
            for sample, reason in zip(wanted, reasons, strict=True)
            if reason
        ]
        rejected += again
        wanted = [each.sample for each in again]
        if not wanted or made + len(wanted) > count + budget:
            return Selection(dict(sorted(accepted.items())), tuple(rejected), made)
    raise AssertionError("the budget is finite")


def _reasons(found: Findings, known: Looks, reach: int) -> list[Reason | None]:
    """What speaks against each candidate first."""
    prints, thumbnails = found.looks
    repeated = near_duplicates(prints, known.fingerprints, thumbnails, known.thumbnails, reach) >= 0
    flags = zip(found.blank.tolist(), found.copied.tolist(), repeated.tolist(), strict=True)
    return [
        "blank" if blank else "copied" if copied else "repeated" if again else None
        for blank, copied, again in flags
    ]
