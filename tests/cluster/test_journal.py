from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aigc.errors import WorkspaceUnwritable
from cluster.journal import Journal, JournalReader, Lines, following


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def steps(path: Path) -> list[int]:
    return [entry["step"] for entry in JournalReader(path).new()]


def test_a_reader_gets_each_entry_once(path: Path) -> None:
    journal, reader = Journal(path), JournalReader(path)
    journal.report(1, {"loss": 0.5})
    first = reader.new()
    journal.show(2, "samples/a.png")
    second = reader.new()
    journal.close()

    assert [(entry["step"], entry.get("figures")) for entry in first] == [(1, {"loss": 0.5})]
    assert [(entry["step"], entry.get("picture")) for entry in second] == [(2, "samples/a.png")]
    assert reader.new() == []


def test_steps_that_a_resumed_run_repeats_appear_once(path: Path) -> None:
    journal = Journal(path)
    for step in (10, 20, 30):
        journal.report(step, {"loss": step / 10})
    journal.close()
    resumed = Journal(path)
    for step in (20, 30, 40):
        resumed.report(step, {"loss": step / 10})
    resumed.close()

    assert steps(path) == [10, 20, 30, 40]


def test_a_torn_line_is_dropped_and_written_again(path: Path) -> None:
    journal = Journal(path)
    journal.report(1, {"loss": 0.5})
    journal.report(2, {"loss": 0.4})
    journal.close()
    path.write_bytes(path.read_bytes()[:-7])
    assert steps(path) == [1]

    again = Journal(path)
    again.report(2, {"loss": 0.4})
    again.close()

    assert steps(path) == [1, 2]


def test_half_a_line_waits_for_its_end(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"step": 1, "figures": {}}\n{"step": 2')
    reader = JournalReader(path)

    assert [entry["step"] for entry in reader.new()] == [1]
    with path.open("ab") as file:
        file.write(b', "figures": {}}\n')
    assert [entry["step"] for entry in reader.new()] == [2]


def test_a_journal_that_is_not_there_yet_is_empty(path: Path) -> None:
    assert JournalReader(path).new() == []


@contextmanager
def full_disk_after(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def report_all(journal: Journal, numbers: range, pause: float = 0) -> None:
    for step in numbers:
        journal.report(step, {"loss": 0.5})
        time.sleep(pause)


def test_a_full_disk_is_a_sentence_and_tears_no_line(path: Path) -> None:
    journal = Journal(path)
    with full_disk_after(1000), pytest.raises(WorkspaceUnwritable, match=r"cannot write .*metrics"):
        report_all(journal, range(100))
    kept = steps(path)
    assert path.read_bytes().endswith(b"}\n")
    assert kept == list(range(len(kept)))

    report_all(journal, range(100))
    journal.close()
    assert steps(path) == list(range(100))


def test_what_a_disk_refuses_in_the_background_is_heard_at_the_next_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.journal.SYNC_SECONDS", 0.01)
    journal = Journal(path)
    descriptor = journal._lines._file.fileno()
    saved, reading = os.dup(descriptor), os.pipe()
    journal.report(0, {"loss": 0.5})
    os.dup2(reading[1], descriptor)  # a pipe cannot be synced
    with pytest.raises(WorkspaceUnwritable, match="cannot write"):
        report_all(journal, range(1, 1000), pause=0.01)
    os.dup2(saved, descriptor)
    journal.close()
    for each in (saved, *reading):
        os.close(each)


def test_a_line_of_any_length_is_torn_and_dropped(path: Path) -> None:
    lines = Lines(path)
    lines.append("1" * 200_000)
    lines.append("2" * 200_000)
    lines.close()
    os.truncate(path, path.stat().st_size - 1)

    sizes = []
    for whole in (path.stat().st_size, 199_000):
        os.truncate(path, whole)
        with closing(Lines(path)) as lines:
            sizes.append(lines.size)
    assert sizes == [200_001, 0]


def test_who_follows_hears_everything(path: Path) -> None:
    heard = list[int]()
    with following(path, lambda entries: heard.extend(entry["step"] for entry in entries)):
        journal = Journal(path)
        for step in range(5):
            journal.report(step, {"loss": 0.5})
        journal.close()

    assert heard == [0, 1, 2, 3, 4]
