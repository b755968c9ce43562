from __future__ import annotations

import logging
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aigc.errors import Preempted, WorkspaceUnwritable
from cluster.logs import RunLog, logged, logging_to
from cluster.tasks import each

OURS, OTHERS = logging.getLogger("cluster.somewhere"), logging.getLogger("ray.somewhere")


def said(folder: Path, who: str = "driver") -> list[str]:
    """The lines without their times."""
    lines = (folder / f"{who}.log").read_text().splitlines()
    return [line.split(" ", 1)[1] for line in lines]


@pytest.mark.parametrize("propagate", [True, False])
def test_our_progress_is_kept_and_of_others_what_they_warn_of(
    propagate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Ray does once it is imported.
    monkeypatch.setattr(logging.getLogger("ray"), "propagate", propagate)
    monkeypatch.setattr(logging.getLogger("ray"), "level", logging.INFO)
    with logging_to(tmp_path, "driver"):
        OURS.info("step %d", 5)
        OTHERS.info("chatter")
        OTHERS.warning("beware")
    OURS.warning("nobody listens")

    assert said(tmp_path) == [
        "INFO driver cluster.somewhere: step 5",
        "WARNING driver ray.somewhere: beware",
    ]


def test_a_line_begins_with_its_time_and_offset(tmp_path: Path) -> None:
    with logging_to(tmp_path, "driver"):
        OURS.info("now")
    time = datetime.fromisoformat((tmp_path / "driver.log").read_text().split()[0])

    assert time.tzinfo is not None
    assert abs(datetime.now().astimezone() - time) < timedelta(minutes=1)


def test_an_attempt_adds_to_the_log_of_the_one_before(tmp_path: Path) -> None:
    for number in range(2):
        with logging_to(tmp_path / "logs", "driver"):
            OURS.info("attempt %d", number)

    assert [line[-1] for line in said(tmp_path / "logs")] == ["0", "1"]


def test_an_error_is_kept_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such"), logging_to(tmp_path, "driver"):
        raise ValueError("no such thing\nand more")
    first, second, *_ = (tmp_path / "driver.log").read_text().splitlines()

    assert first.endswith("ERROR driver cluster.logs: failed: no such thing")
    assert second == "Traceback (most recent call last):"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Preempted("saved at step 5")])
def test_who_is_stopped_has_not_failed(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), logging_to(tmp_path, "driver"):
        raise error

    (line,) = said(tmp_path)
    assert line.startswith("WARNING driver cluster.logs: stopped: ")


def test_a_process_that_is_driver_and_worker_writes_each_line_once(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with logging_to(other, "driver"), logging_to(tmp_path, "driver"):
        OURS.info("before")
        with logging_to(tmp_path, "worker-0"):
            OURS.info("inside")
        OURS.info("after")

    assert [line.split(": ")[1] for line in said(tmp_path)] == ["before", "after"]
    assert [line.split(": ")[1] for line in said(tmp_path, "worker-0")] == ["inside"]
    # A submission that another one waits for is a part of that one's story.
    assert [line.split(": ")[1] for line in said(other)] == ["before", "inside", "after"]


def test_everything_is_as_it_was_afterwards(tmp_path: Path) -> None:
    root, package = logging.getLogger(), logging.getLogger("cluster")
    before = list(root.handlers), package.level
    with logging_to(tmp_path, "driver"):
        assert package.level == logging.INFO

    assert (list(root.handlers), package.level) == before


def test_warnings_are_on_the_terminal_too_and_progress_and_tracebacks_are_not(
    tmp_path: Path,
) -> None:
    script = f"""
import logging, pathlib
from cluster.logs import logging_to
log = logging.getLogger("cluster.somewhere")
try:
    with logging_to(pathlib.Path({str(tmp_path)!r}), "driver"):
        log.info("progress")
        log.warning("beware")
        raise ValueError("broken")
except ValueError:
    log.warning("afterwards")
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert child.returncode == 0, child.stderr
    assert child.stderr.splitlines() == ["beware", "afterwards"]
    assert "Traceback" in (tmp_path / "driver.log").read_text()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with (
        pytest.raises(WorkspaceUnwritable, match="cannot write"),
        logging_to(tmp_path / "logs", "driver"),
    ):
        pass


def complaining(asked: int) -> int:
    OURS.warning("asked for %d", asked)
    return asked + 1


def test_a_function_takes_its_log_along_and_a_quiet_one_has_none(tmp_path: Path) -> None:
    assert list(logged(each(complaining), tmp_path, "generation")(iter([1]))) == [2]
    assert list(logged(each(abs), tmp_path, "evaluation")(iter([-1]))) == [1]

    assert said(tmp_path, "generation") == ["WARNING generation cluster.somewhere: asked for 1"]
    assert not (tmp_path / "evaluation.log").exists()


def test_a_log_that_cannot_be_opened_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "driver.log").mkdir()
    with logging_to(tmp_path, "driver"):
        OURS.warning("lost")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_costs_the_lines_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "driver.log").symlink_to("/dev/full")
    log = RunLog(tmp_path, "driver")
    log.handle(logging.LogRecord("cluster", logging.INFO, "", 0, "lost", (), None))
    log.close()

    assert capsys.readouterr().err == ""
