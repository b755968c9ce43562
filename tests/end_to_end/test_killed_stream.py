"""A stream that is killed at random and goes on with other workers: 0 lost, 0 repeated."""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numbered import make_numbered, numbers_of

from aigc.data.stream import Position

EPOCHS = 2
SCRIPT = Path(__file__).with_name("stream_consumer.py")
FIXTURES = Path(__file__).parents[1] / "fixtures"

_found = importlib.util.spec_from_file_location("stream_consumer", SCRIPT)
assert _found is not None
assert _found.loader is not None
consumer = importlib.util.module_from_spec(_found)
_found.loader.exec_module(consumer)


class Run:
    """A stream over a numbered dataset, killed again and again."""

    def __init__(self, root: Path, records: int, suffix: str) -> None:
        self.datasets, self.folder = root / "datasets", root / "run"
        self.folder.mkdir()
        make_numbered(self.datasets, records, shard_records=700, suffix=suffix)
        self.redone = self.kills = 0

    def undisturbed(self) -> list[list[int]]:
        """Every batch of both epochs, by one worker of this process."""
        stream = consumer.stream(self.datasets)
        batches = itertools.islice(stream.batches(), EPOCHS * stream.batches_per_epoch)
        return [numbers_of(batch) for batch, _ in batches]

    def consumed(self) -> list[bytes]:
        """A line for each batch; the last one may be torn."""
        path = self.folder / "consumed"
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def attempt(self, workers: int, end: int | None = None) -> None:
        """Go on as so many workers, which are killed when `end` batches are consumed."""
        self._forget_what_was_not_saved()
        words = [str(self.datasets), str(workers), str(self.folder), str(EPOCHS)]
        path = os.pathsep.join([str(FIXTURES), *filter(None, [os.environ.get("PYTHONPATH")])])
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), *words], env={**os.environ, "PYTHONPATH": path}
        )
        while end is not None and child.poll() is None and len(self.consumed()) < end:
            time.sleep(0.0005)
        if end is not None:
            child.kill()
        code = child.wait()
        assert code in (0, -signal.SIGKILL)
        self.kills += code == -signal.SIGKILL

    def _forget_what_was_not_saved(self) -> None:
        """What came after the last saved position is what a training would do again."""
        per_epoch = consumer.stream(self.datasets).batches_per_epoch
        position: Position = consumer.position_in(self.folder)
        saved, lines = position.epoch * per_epoch + position.batch, self.consumed()
        assert len(lines) >= saved
        self.redone += len(lines) - saved
        (self.folder / "consumed").write_bytes(b"".join(lines[:saved]))


def kill_and_go_on(run: Run, kills: int) -> list[list[int]]:
    """What was consumed in the end, batch after batch; the moments are drawn from a seed, as many
    in each epoch."""
    whole, source = run.undisturbed(), random.Random(11)
    half = len(whole) // EPOCHS
    for end in sorted(source.randrange(half) + kill % EPOCHS * half for kill in range(kills)):
        run.attempt(source.choice([1, 2, 3, 4]), end)
    run.attempt(3)
    found = [[int(number) for number in line.split()] for line in run.consumed()]
    assert found == whole
    return found


def assert_each_once(batches: list[list[int]], records: int) -> None:
    half = len(batches) // EPOCHS
    for epoch in (batches[:half], batches[half:]):
        assert sorted(itertools.chain(*epoch)) == list(range(records))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_killed_in_each_epoch_a_stream_loses_nothing_and_repeats_nothing(
    tmp_path: Path, suffix: str
) -> None:
    run = Run(tmp_path, 5003, suffix)
    assert_each_once(kill_and_go_on(run, EPOCHS), 5003)

    assert run.kills >= EPOCHS - 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_killed_fifty_times_a_stream_loses_nothing_and_repeats_nothing(
    tmp_path: Path, suffix: str
) -> None:
    run = Run(tmp_path, 20_011, suffix)
    assert_each_once(kill_and_go_on(run, 50), 20_011)

    assert run.kills >= 40
    assert run.redone > 10
    print(f"{run.kills} kills, {run.redone} batches done again")
