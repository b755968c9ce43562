"""The logs of a run are read whole, followed, and put in one order."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import LogNotFound
from cluster.log_reader import LogReader


def line(second: int, words: str, offset: str = "+00:00") -> str:
    return f"2026-11-24T03:00:{second:02d}.000{offset} INFO {words}\n"


def test_each_call_gives_what_is_new_and_whole(tmp_path: Path) -> None:
    log, reader = tmp_path / "driver.log", LogReader(tmp_path, "driver")
    assert reader.new() == []
    log.write_text(line(1, "one") + "half")
    assert reader.new() == [line(1, "one")]
    log.write_text(line(1, "one") + "half a line\n")
    assert reader.new() == ["half a line\n"]
    assert reader.new() == []


def test_all_logs_are_one_by_their_times_and_tracebacks_stay_whole(tmp_path: Path) -> None:
    trace = line(2, "failed") + "Traceback:\n  2 lines\n"
    (tmp_path / "driver.log").write_text(line(1, "a") + line(4, "d"))
    (tmp_path / "worker-0.log").write_text(trace + line(0, "set back") + line(3, "c"))
    (tmp_path / "worker-1.log").write_text(line(5, "elsewhere", "+01:00"))

    assert LogReader(tmp_path, None).new() == [
        line(5, "elsewhere", "+01:00"),
        line(1, "a"),
        trace,
        line(0, "set back"),
        line(3, "c"),
        line(4, "d"),
    ]
    assert LogReader(tmp_path, "worker-0").new() == [trace, line(0, "set back"), line(3, "c")]


def test_bytes_that_are_no_text_are_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "driver.log").write_bytes(
        b"\xff\n2026-99-99T no time\n2026-11-24T03:00 no offset\n"
    )

    assert LogReader(tmp_path, None).new() == [
        "�\n",
        "2026-99-99T no time\n",
        "2026-11-24T03:00 no offset\n",
    ]


def test_a_log_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(LogNotFound, match="It comes when the job begins"):
        LogReader(tmp_path, None).require()
    (tmp_path / "driver.log").touch()
    LogReader(tmp_path, None).require()
    with pytest.raises(LogNotFound, match=r"no log of worker-7.*one of: driver"):
        LogReader(tmp_path, "worker-7").require()
