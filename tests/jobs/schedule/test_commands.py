"""aigc schedule as one sees it: what is printed, what is kept, and what it ends with."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.store import Store
from cluster.tables import SCHEDULES
from cluster.ticks import milliseconds
from cluster.workspace import Workspace
from jobs.cli import main
from jobs.schedule.definition import load_schedule
from jobs.source import read, written
from jobs.specs import SPECS

SHIPPED = SPECS / "schedule.yaml"


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    monkeypatch.setenv("AIGC_WORKSPACE", str(tmp_path / "workspace"))
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def printed(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `aigc schedule …` that is to end well, and returns its data."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main(["schedule", *words, "-o", "json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def ago(root: Path, name: str, length: timedelta) -> None:
    """Let a schedule have been looked at last so long ago."""
    then = milliseconds(datetime.now(UTC) - length)
    with Store.of(Workspace.at(root)).transaction() as connection:
        connection.execute(
            SCHEDULES.update().where(SCHEDULES.c.name == name).values(cursor=then, next_due=then)
        )


def test_the_shipped_schedule_is_kept_shown_and_previewed(printed: Any) -> None:
    made = printed("create", str(SHIPPED))
    assert (made["name"], made["state"], made["cron"]) == (
        "nightly-digits",
        "active",
        "30 2 * * *",
    )
    (listed,) = printed("list")
    assert listed["next"] == made["next"]
    shown = printed("show", "nightly-digits")
    assert shown["definition"]["job"]["count"] == 10000
    ticks = printed("preview", "nightly-digits", "-n", "400")
    assert ticks[0]["local"] == made["next"]
    assert sum(tick["note"] is not None for tick in ticks) in (2, 3)
    assert printed("preview", str(SHIPPED), "-n", "1")[0]["local"] == made["next"]


def test_what_is_kept_is_what_the_file_says(printed: Any) -> None:
    printed("create", str(SHIPPED))
    shown = printed("show", "nightly-digits")["definition"]
    assert shown == load_schedule(SHIPPED).model_dump(mode="json")


def test_a_schedule_is_replaced_only_when_asked(root: Path, printed: Any, tmp_path: Path) -> None:
    printed("create", str(SHIPPED))
    changed = tmp_path / "changed.yaml"
    changed.write_text(SHIPPED.read_text().replace("30 2", "0 4"))
    assert main(["schedule", "create", str(changed)]) == 2
    assert printed("create", str(changed), "--replace")["cron"] == "0 4 * * *"


def test_mistakes_end_with_2_and_keep_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(SHIPPED.read_text().replace("30 2", "61 25").replace("Berlin", "Berln"))
    assert main(["schedule", "create", str(wrong)]) == 2
    said = capsys.readouterr().err
    assert f"{wrong}:4: cron: the minute must be 0 to 59" in said
    assert f"{wrong}:5: zone: must be the name of a time zone. Did you mean Europe/Berlin?" in said
    assert not (root / "aigc.db").exists()


@pytest.mark.parametrize(
    "command", ["show", "pause", "resume", "trigger", "delete", "preview", "history"]
)
def test_what_is_not_there_ends_with_102_and_makes_nothing(root: Path, command: str) -> None:
    assert main(["schedule", command, "other"]) == 102
    assert not (root / "aigc.db").exists()


def test_without_schedules_the_lists_are_empty(root: Path, printed: Any) -> None:
    assert [printed(command) for command in ("list", "history", "check")] == [[], [], []]
    assert not (root / "aigc.db").exists()


def test_what_is_mistyped_is_not_passed_over(
    root: Path, printed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "tick", "--on", "here"]) == 0
    assert f"there are no schedules in {root}" in capsys.readouterr().err
    file = tmp_path / "over.yaml"
    over = {**read(SHIPPED).data, "end": "2020-01-01"}
    file.write_text(written(over))
    assert main(["schedule", "create", str(file)]) == 0
    assert "nightly-digits is never due any more" in capsys.readouterr().err
    assert main(["schedule", "history", "nightly-digit"]) == 102
    assert main(["schedule", "history", "nightly-digits"]) == 0
    backwards = ["--from", "2026-01-02", "--to", "2026-01-01"]
    capsys.readouterr()
    assert main(["schedule", "backfill", "nightly-digits", *backwards]) == 2
    assert "--to: must not be before --from, 2026-01-02" in capsys.readouterr().err
    assert main(["schedule", "tick", "--on", "here"]) == 0
    assert "no schedules" not in capsys.readouterr().err


def test_the_history_fits_on_a_line_up_to_its_reason(
    printed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    printed("create", str(SHIPPED))
    printed("trigger", "nightly-digits")
    assert main(["schedule", "history", "nightly-digits"]) == 0
    titles, line = capsys.readouterr().out.splitlines()
    assert titles.index("REASON") < 80
    assert "triggered by" in line
    (tick,) = printed("history", "nightly-digits")
    assert tick.keys() >= {"started", "ended", "owner", "through", "backfill", "reason"}


def test_a_pause_skips_and_resuming_fires_nothing_old(root: Path, printed: Any) -> None:
    printed("create", str(SHIPPED))
    assert printed("pause", "nightly-digits")["state"] == "paused"
    ago(root, "nightly-digits", timedelta(days=3))
    assert printed("resume", "nightly-digits")["state"] == "active"
    states = {(tick["state"], tick["reason"]) for tick in printed("history", "nightly-digits")}
    assert states == {("skipped", "the schedule was paused")}
    assert main(["schedule", "tick", "--on", "here"]) == 0
    assert len(printed("history")) == 3


def test_the_check_ends_with_106_when_nobody_has_looked(
    root: Path, printed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    printed("create", str(SHIPPED))
    assert printed("check") == []
    ago(root, "nightly-digits", timedelta(days=3))
    assert main(["schedule", "check", "-o", "json"]) == 106
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["schedule"], found["what"]) == ("nightly-digits", "unaccounted")
    assert main(["schedule", "check", "--within", "never"]) == 2


def test_a_tick_that_was_missed_is_found_for_a_while(root: Path, printed: Any) -> None:
    printed("create", str(SHIPPED))
    ago(root, "nightly-digits", timedelta(days=3))
    assert main(["schedule", "delete", "nightly-digits"]) == 0
    assert main(["schedule", "check"]) == 106
    assert {tick["state"] for tick in printed("history", "nightly-digits")} == {"missed"}
    assert printed("list") == []


def test_a_job_that_cannot_be_submitted_fails_with_its_reason(
    root: Path, printed: Any, tmp_path: Path
) -> None:
    """A real engine and a real submission: the dataset is not there."""
    job = {"kind": "train", "name": "t", "data": {"dataset": "gone"}, "model": {"family": "vae"}}
    words = {"name": "nightly", "cron": "0 0 1 1 *", "zone": "UTC", "retries": {"count": 3}}
    file = tmp_path / "s.yaml"
    file.write_text(written({**words, "job": {**job, "training": {"steps": 1}}}))
    printed("create", str(file))
    due = printed("trigger", "nightly")["due"]
    assert main(["schedule", "tick", "--on", "here"]) == 100
    (tick,) = printed("history", "nightly")
    assert (tick["due"], tick["state"], tick["attempt"]) == (due, "failed", 1)
    assert "exit code 102: " in tick["reason"]
    assert "gone" in tick["reason"]
    (folder,) = (root / "schedules" / "nightly").iterdir()
    assert read(folder / "job.yaml").data["due"] == due


def test_a_pass_that_is_told_to_end_leaves_its_jobs_and_says_so(
    root: Path, printed: Any, tmp_path: Path
) -> None:
    printed("create", str(SHIPPED))
    printed("trigger", "nightly-digits")
    command = [sys.executable, "-m", "jobs", "schedule", "tick", "--on", "here"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().endswith("attempt 1\n")
        process.send_signal(signal.SIGTERM)
        assert "its job goes on, and the next engine looks after it" in process.stderr.read()
        assert process.wait() == 101
    (tick,) = printed("history")
    assert tick["state"] == "running"
    assert main(["schedule", "tick", "--on", "here"]) == 100


def test_a_backfill_is_shown_asked_for_and_run(
    root: Path, printed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real engine and real submissions; that the dataset is not there says how each ended."""
    job = {"kind": "train", "name": "t", "data": {"dataset": "gone"}, "model": {"family": "vae"}}
    words = {"name": "nightly", "cron": "30 2 * * *", "zone": "Europe/Berlin"}
    file = tmp_path / "s.yaml"
    file.write_text(written({**words, "job": {**job, "training": {"steps": 1}}}))
    printed("create", str(file))
    span = ("nightly", "--from", "2026-03-28", "--to", "2026-03-29")
    shown = printed("backfill", *span, "--dry-run")
    assert [each["utc"] for each in shown] == [
        "2026-03-28T01:30:00+00:00",
        # The night in which clocks go on at 2:00.
        "2026-03-29T01:00:00+00:00",
    ]
    assert printed("history") == []
    assert printed("backfill", *span, "--reverse") == shown[::-1]
    assert main(["schedule", "tick", "--on", "here"]) == 100
    ended = printed("history", "nightly")
    assert {(each["state"], each["attempt"]) for each in ended} == {("failed", 1)}
    assert ended[0]["started"] <= ended[1]["started"]
    for folder in (root / "schedules" / "nightly").iterdir():
        assert read(folder / "job.yaml").data["due"] in {each["utc"] for each in shown}
    assert printed("backfill", *span) == []
    assert len(printed("backfill", *span, "--reprocess", "failed", "--dry-run")) == 2
    assert main(["schedule", "backfill", *span[:3], "--to", "soon"]) == 2
    assert "Invalid value for --to: must be a date or time" in capsys.readouterr().err
    assert main(["schedule", "backfill", "other", *span[1:]]) == 102


def test_a_file_is_applied_after_it_was_said_what_changes(
    root: Path, printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = printed("apply", str(SHIPPED), "--dry-run")
    assert (made["schedule"], made["action"]) == ("nightly-digits", "create")
    cron = {"field": "cron", "before": None, "after": "30 2 * * *"}
    assert cron in made["changes"]
    assert not (root / "aigc.db").exists()

    assert printed("apply", str(SHIPPED), "--yes") == made
    again = printed("apply", str(SHIPPED))
    assert (again["action"], again["changes"]) == ("unchanged", [])

    ago(root, "nightly-digits", timedelta(days=3))
    changed = tmp_path / "changed.yaml"
    changed.write_text(SHIPPED.read_text().replace("30 2", "0 4").replace("10000", "20000"))
    for words in (["--dry-run"], []):
        edit = printed("apply", str(changed), *words)
        assert edit["action"] == "edit"
        assert edit["changes"] == [
            {"field": "cron", "before": "30 2 * * *", "after": "0 4 * * *"},
            {"field": "job.count", "before": 10000, "after": 20000},
        ]
    assert printed("show", "nightly-digits")["cron"] == "0 4 * * *"
    # What came due as it was before is accounted for, and nothing old fires.
    assert {tick["state"] for tick in printed("history")} == {"missed"}
    assert main(["schedule", "tick", "--on", "here"]) == 0
    assert {tick["state"] for tick in printed("history")} == {"missed"}

    for said, code, cron_then in (("n\n", 130, "0 4 * * *"), ("y\n", 0, "30 2 * * *")):
        monkeypatch.setattr("sys.stdin", Terminal(said))
        assert main(["schedule", "apply", str(SHIPPED)]) == code
        assert printed("show", "nightly-digits")["cron"] == cron_then


def test_a_schedule_that_can_no_longer_be_read_can_be_changed_and_deleted(
    root: Path, printed: Any
) -> None:
    printed("create", str(SHIPPED))
    for command in (["apply", str(SHIPPED), "--yes"], ["delete", "nightly-digits"]):
        with Store.of(Workspace.at(root)).transaction() as connection:
            broken = SHIPPED.read_text().replace("cron:", "corn:")
            connection.execute(SCHEDULES.update().values(definition=broken))
        (listed,) = printed("list")
        assert listed["state"] == "invalid"
        assert "corn" in listed["reason"]
        assert main(["schedule", *command]) == 0
    assert printed("list") == []
