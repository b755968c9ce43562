"""Work in a thread beside a block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Run `work` in a thread until the block ends; it is then told to halt, and waited for."""
    halt = threading.Event()
    thread = threading.Thread(target=work, args=(halt,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        halt.set()
        thread.join()
