"""A process that consumes a stream and notes what it had, until somebody kills it.

    python stream_consumer.py DATASETS WORKERS FOLDER EPOCHS

Streams the dataset `numbered` as so many workers in turn, from the position in FOLDER. `consumed`
gets a line for each global batch; now and then `position.json` follows, as a checkpoint would.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from numbered import numbers_of

from aigc.data.catalog import find
from aigc.data.files import fsync, write_json
from aigc.data.stream import Position, Stream

BATCH_SIZE, WINDOW, SEED = 24, 300, 3
SAVE_EVERY = 4
STEP_S = 0.001
"""A step that takes no time would be over before anybody could interrupt it."""


def stream(datasets: Path, rank: int = 0, size: int = 1) -> Stream:
    """A worker's part of every batch; the last one of an epoch is short."""
    dataset = find(datasets, "numbered")
    return Stream(dataset, "train", BATCH_SIZE, SEED, rank, size, window=WINDOW, drop_last=False)


def position_in(folder: Path) -> Position:
    """What was saved last, or the start."""
    path = folder / "position.json"
    return Position(*json.loads(path.read_text())) if path.exists() else Position()


def consume(datasets: Path, workers: int, folder: Path, epochs: int) -> None:
    """Go on from the saved position to the end of the last epoch."""
    start = position_in(folder)
    if start.epoch == epochs:
        return
    parts = [stream(datasets, rank, workers).batches(start) for rank in range(workers)]
    with (folder / "consumed").open("a") as consumed:
        for count, together in enumerate(zip(*parts, strict=True), start=1):
            (position,) = {after for _, after in together}
            numbers = [number for batch, _ in together for number in numbers_of(batch)]
            consumed.write(" ".join(map(str, numbers)) + "\n")
            consumed.flush()
            if position.epoch == epochs or count % SAVE_EVERY == 0:
                fsync(folder / "consumed")
                write_json(folder / "position.json", position)
            if position.epoch == epochs:
                return
            time.sleep(STEP_S)


if __name__ == "__main__":
    consume(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
