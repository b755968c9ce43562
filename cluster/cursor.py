"""How far the delivery of a submission's record got, noted in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from aigc.data.files import write_json
from cluster.journal import whole_bytes
from cluster.workspace import RunFolder

OPEN = "RUNNING"


@dataclass
class Cursor:
    """How far the delivery to one store got: bytes of outbox and journal, and the run's status."""

    store: str
    run_id: str | None = None
    status: str | None = None
    outbox: int = 0
    journal: int = 0

    @classmethod
    def of(cls, run: RunFolder, store: str) -> Cursor:
        """What is noted; nothing is delivered when it was another store, or other files."""
        try:
            noted = cls(**json.loads(run.delivered.read_bytes()))
            if noted.store != store or not 0 <= noted.outbox <= whole_bytes(run.outbox):
                return cls(store)
            if not 0 <= noted.journal <= whole_bytes(run.journal):
                noted.journal = 0
        except (OSError, ValueError, TypeError, RecursionError):
            return cls(store)
        return noted

    def is_behind(self, run: RunFolder) -> bool:
        """Whether something waits."""
        return self.outbox < whole_bytes(run.outbox) or self.journal < whole_bytes(run.journal)

    def note(self, run: RunFolder) -> None:
        """Write it down."""
        write_json(run.delivered, asdict(self))
