from __future__ import annotations

from pathlib import Path

import pytest

from cluster.journal import Journal, JournalReader


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
