"""What a schedule costs: passes, ten years of absence, lateness, and the pace under kills.

Protocol: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import sys

from harness import conclude, machine
from scheduling.installations import Figures, Goals
from scheduling.kills import kills
from scheduling.lateness import lateness
from scheduling.passes import nothing_due, ten_years


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000, help="of which nothing is due")
    parser.add_argument("--history", type=int, default=100_000, help="ticks that have ended")
    parser.add_argument("--repeats", type=int, default=7, help="of a pass")
    parser.add_argument("--together", type=int, default=20, help="due in the same minute")
    parser.add_argument("--minutes", type=int, default=3, help="of which lateness is taken")
    parser.add_argument("--kills", type=int, default=200, help="of engines, ten ticks for each")
    chosen = parser.parse_args()
    where, figures, goals = machine(), Figures(), Goals()
    nothing_due(chosen.schedules, chosen.history, chosen.repeats, figures, goals)
    ten_years(figures, goals)
    lateness(chosen.together, chosen.minutes, figures, goals)
    kills(chosen.kills, figures, goals)
    return conclude("schedule", where, figures, goals)


if __name__ == "__main__":
    sys.exit(main())
