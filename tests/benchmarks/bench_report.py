"""How long the report of a night of 10,000 samples takes: pictures, page and JSON."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness import conclude, machine, table
from nights import FIGURES, earlier, make, with_everything

from aigc.data.importers import import_dataset
from jobs.report import ShardEntry, write_index, write_report

SAMPLES, SHARDS, NIGHTS, SECONDS = 10_000, 10, 30, 20.0


def main() -> int:
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        datasets = Path(folder) / "datasets"
        digits = import_dataset(datasets, "digits")[0]
        started = time.monotonic()
        shards = [ShardEntry(path=f"{n}", records=1000, bytes=1, sha256="0") for n in range(SHARDS)]
        report = replace(with_everything(make(), digits), shards=shards)
        night = datasets / "digits-nightly" / "tonight"
        night.mkdir(parents=True)
        write_report(night, replace(report, nights=earlier(NIGHTS, FIGURES)))
        write_index(datasets, "digits-nightly")
        seconds = time.monotonic() - started
        size = (night / "report.html").stat().st_size
    table(("samples", "seconds", "bytes of report.html"), [(SAMPLES, seconds, size)])
    goals = {"20 s ÷ seconds": (SECONDS / seconds, 1.0), "10 MB ÷ size": (1e7 / size, 1.0)}
    return conclude("report", where, {"seconds": seconds, "bytes": size}, goals)


if __name__ == "__main__":
    sys.exit(main())
