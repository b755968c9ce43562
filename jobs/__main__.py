"""The command aigc, which is also python -m jobs: from its first import to its last word.

What can be interrupted in between is in jobs/cli.py. Here is what lies before and after: Ctrl-C
ends with a sentence and 130 there, too, or with the code that was reached.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line of this process, and end with its exit code."""
    try:
        from jobs.cli import main

        code = main()
    except KeyboardInterrupt:
        # While it was imported, or between its last word and here.
        print("interrupted; give the same command again", file=sys.stderr)
        code = 130
    _leave_at_ctrl_c(code)
    # A Ctrl-C that came in code of a string, as dataclasses are made, lets `python -m` end as if by
    # the signal, although it was caught. What is run next makes up for it.
    exec("")
    sys.exit(code)


def _leave_at_ctrl_c(code: int) -> None:
    """Nothing is left to interrupt, and no other code to end with."""
    with suppress(OSError, ValueError):  # nobody reads it, or it was closed
        sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


if __name__ == "__main__":
    run()
