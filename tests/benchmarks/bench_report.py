"""How long the report of a night of 10,000 samples takes: alone, and at the end of a real night."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness import conclude, machine, table
from nights import FIGURES, earlier, make, with_everything

from aigc.data.importers import import_dataset
from jobs.cli import main as aigc
from jobs.report import ShardEntry, write_index, write_report
from jobs.specs import SPECS

SAMPLES, SHARDS, NIGHTS, SECONDS = 10_000, 10, 30, 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="of the night's model")
    chosen, where = parser.parse_args(), machine()
    with tempfile.TemporaryDirectory() as folder:
        seconds, size = alone(Path(folder) / "alone")
        whole, real_size = real_night(Path(folder) / "real", chosen.steps)
    rows = [("page and JSON", seconds, size), ("from the last shard to the page", whole, real_size)]
    table((f"report of {SAMPLES:,} samples", "seconds", "bytes of report.html"), rows)
    goals = {
        "20 s ÷ seconds": (SECONDS / seconds, 1.0),
        "20 s ÷ seconds of a real night": (SECONDS / whole, 1.0),
        "10 MB ÷ size": (1e7 / max(size, real_size), 1.0),
    }
    figures = {"seconds": seconds, "bytes": size, "real_seconds": whole, "real_bytes": real_size}
    return conclude("report", where, figures, goals)


def alone(datasets: Path) -> tuple[float, int]:
    """Seconds to draw and write everything that a report may have, and bytes of its page."""
    digits = import_dataset(datasets, "digits")[0]
    started = time.monotonic()
    shards = [ShardEntry(path=f"{n}", records=1000, bytes=1, sha256="0") for n in range(SHARDS)]
    report = replace(with_everything(make(), digits), shards=shards)
    night = datasets / "digits-nightly" / "tonight"
    night.mkdir(parents=True)
    write_report(night, replace(report, nights=earlier(NIGHTS, FIGURES)))
    write_index(datasets, "digits-nightly")
    return time.monotonic() - started, (night / "report.html").stat().st_size


def real_night(workspace: Path, steps: int) -> tuple[float, int]:
    """Seconds between the last shard and the page of a night by the command line, in which the
    night is judged, too; and bytes of the page. Published or not is all the same."""
    command = ["--workspace", str(workspace)]
    submit = [*command, "submit", "--yes", "--on", "here"]
    training = ["--set", f"training.steps={steps}", "--set", "resources.workers=1"]
    night = ["--set", "model=digits@1", "--set", f"count={SAMPLES}"]
    aigc([*command, "data", "import", "mnist-5k"])
    aigc([*submit, str(SPECS / "training" / "digits-vae.yaml"), *training])
    aigc([*submit, str(SPECS / "generation" / "nightly-digits.yaml"), *night])
    (folder,) = (workspace / "datasets" / "digits-nightly").glob("*/")
    last = max(shard.stat().st_mtime for shard in folder.glob("shards/*.parquet"))
    page = (folder / "report.html").stat()
    return page.st_mtime - last, page.st_size


if __name__ == "__main__":
    sys.exit(main())
