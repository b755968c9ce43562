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
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from aigc.generation.screening import near_duplicates
from aigc.seeding import Integers

Reason = Literal["blank", "copied", "repeated"]
REASONS: tuple[Reason, ...] = get_args(Reason)


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


@dataclass(frozen=True, eq=False)
class Selection:
    """`attempts`, int64 (count,), are those of the samples that were accepted, −1 where none was;
    what was rejected, and how many candidates were made in all."""

    attempts: Integers
    rejected: tuple[Rejected, ...]
    made: int

    @property
    def accepted(self) -> int:
        """How many samples there are."""
        return int(np.count_nonzero(self.attempts >= 0))

    @property
    def reasons(self) -> dict[str, int]:
        """How many were rejected, by reason."""
        return dict(Counter(each.reason for each in self.rejected))


def choose(
    count: int,
    budget: int,
    earlier: Looks | None,
    reach: int,
    look: Callable[[int, Integers], Findings],
) -> Selection:
    """Choose among candidates of the samples 0 … count − 1; at most `budget` are made beyond these.

    `look` makes the given attempt at the given samples, and finds out about each, in their order.
    `earlier` are samples of other datasets, None where there is none; a sample repeats another one
    of which at most `reach` bits of the fingerprint differ. A round that the budget does
    not hold whole is not begun: its samples stay missing.
    """
    attempts, rejected = np.full(count, -1), list[Rejected]()
    known, wanted, made = earlier, np.arange(count), 0
    for attempt in itertools.count():
        found = look(attempt, wanted)
        made += len(wanted)
        known = known or found.looks.at(torch.tensor([], dtype=torch.int64))
        reasons = _reasons(found, known, reach)
        is_fine = reasons < 0
        attempts[wanted[is_fine]] = attempt
        wanted, why = wanted[~is_fine], reasons[~is_fine]
        rejected += [
            Rejected(sample, attempt, REASONS[reason])
            for sample, reason in zip(wanted.tolist(), why.tolist(), strict=True)
        ]
        if not len(wanted) or made + len(wanted) > count + budget:
            return Selection(attempts, tuple(rejected), made)
        known = known.and_those_of(found.looks.at(torch.from_numpy(is_fine)))
    raise AssertionError("the budget is finite")


def _reasons(found: Findings, known: Looks, reach: int) -> Integers:
    """What speaks against each candidate first, (N,): its place in `REASONS`, or −1."""
    prints, thumbnails = found.looks
    repeated = near_duplicates(prints, known.fingerprints, thumbnails, known.thumbnails, reach) >= 0
    flags = [found.blank.numpy(), found.copied.numpy(), repeated.numpy()]
    return np.select(flags, range(len(REASONS)), -1)
