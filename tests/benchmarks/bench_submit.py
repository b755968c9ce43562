"""What it costs to submit a job and to look at many: beside Ray's own means, and with faults.

Protocol: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import sys

from harness import conclude, machine
from submitting.handing import exactly_once, overhead
from submitting.listing import Figures, Goals, listing
from submitting.starting import starting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=10_000, help="to list")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=1_000, help="to hand over with faults")
    parser.add_argument("--pairs", type=int, default=5, help="of starts beside Ray's own")
    chosen = parser.parse_args()
    where, figures, goals = machine(), Figures(), Goals()
    listing(chosen.submissions, chosen.repeats, figures, goals)
    starting(chosen.pairs, figures, goals)
    overhead(chosen.pairs, figures, goals)
    exactly_once(chosen.jobs, figures, goals)
    return conclude("submit", where, figures, goals)


if __name__ == "__main__":
    sys.exit(main())
