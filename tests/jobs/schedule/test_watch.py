"""What an engine says of itself over HTTP, and that `serve` does so until it is told to end."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from trivial import Trivial

from cluster.backfill import Backfills
from cluster.notices import Notices
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.tables import SCHEDULES
from cluster.ticks import Ticks, milliseconds
from cluster.workspace import Workspace
from jobs.schedule.backfill import chosen
from jobs.schedule.decisions import set_aside
from jobs.schedule.engine import Engine
from jobs.schedule.watch import WELL_SECONDS, Watch, answering, standing

ROOT = Path(__file__).parents[3]


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def figures(text: str) -> dict[str, float]:
    """Every sample, by its name and the values of its labels."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_and_figures(tmp_path: Path, asking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    workspace = Workspace.at(tmp_path / "workspace")
    store, name = Store.of(workspace), str(workspace.root)
    schedules, ticks, watch = (
        Schedules(store, name),
        Ticks(store, name),
        Watch(Notices(store, name)),
    )
    for each in ("a", "b"):
        made = asking("0 0 1 1 *", "UTC", name=each)
        schedules.create(each, made.as_document(), True, made.next_after)
        schedules.trigger(each, timedelta(hours=1), "")
    schedules.change("b", set_aside, paused=True)
    jobs = Trivial(tmp_path)
    engine = Engine(schedules, ticks, jobs, print, after_pass=watch.after_pass)
    with answering(("127.0.0.1", 0), watch, lambda: standing(schedules, ticks)) as (host, port):
        engine.run(threading.Event(), forever=False)
        assert get(f"{host}:{port}/healthz")[0] == 200
        code, text = get(f"{host}:{port}/metrics")
        assert code == 200
        found = figures(text)
        watch._last -= WELL_SECONDS
        code, said = get(f"{host}:{port}/healthz")
        assert (code, json.loads(said)["status"]) == (503, "no pass went well")
        assert get(f"{host}:{port}/other")[0] == 404
        assert get(f"{host}:{port}/healthz?probe=1")[0] == 503
        asked = urllib.request.Request(f"http://{host}:{port}/metrics", method="HEAD")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert (answer.status, answer.read()) == (200, b"")
    expected = {
        "aigc_schedule_ticks_total ran": 1,
        "aigc_schedule_ticks_total skipped": 1,
        "aigc_schedule_lateness_seconds_count": 1,
        "aigc_schedule_schedules active": 1,
        "aigc_schedule_schedules paused": 1,
        "aigc_schedule_live_ticks waiting": 0,
        "aigc_schedule_due": 0,
        "aigc_schedule_unaccounted": 0,
    }
    assert found.items() >= expected.items()
    assert time.time() - found["aigc_schedule_last_pass_timestamp_seconds"] < 3600


def test_serve_answers_until_it_is_told_to_end(tmp_path: Path, asking: Any) -> None:
    root = tmp_path / "workspace"
    environment = {name: value for name, value in os.environ.items() if name != "AIGC_STORE"}
    command = ["--workspace", str(root), "schedule", "serve", "--on", "here"]
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", *command, "--health-address", "0"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "there are no schedules in" in process.stderr.readline()
            told = re.match(r"http://(127\.0\.0\.1:\d+)/healthz", process.stderr.readline())
            assert told is not None
            assert get(f"{told[1]}/healthz")[0] == 200
            assert figures(get(f"{told[1]}/metrics")[1])["aigc_schedule_schedules active"] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        finally:
            process.kill()


def test_what_is_made_up_for_counts_and_is_not_late(
    tmp_path: Path, asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    store = Store.of(Workspace.at(tmp_path / "workspace"))
    schedules, ticks, watch = (
        Schedules(store, "here"),
        Ticks(store, "here"),
        Watch(Notices(store, "here")),
    )
    made = asking("0 * * * *", "UTC")
    schedules.create("nightly", made.as_document(), True, made.next_after)
    first, last = schedules.now() - timedelta(hours=2), schedules.now()
    choose = functools.partial(chosen, since=first, until=last, reprocess="none")
    asked = Backfills(store, "here").ask("nightly", first, last, choose, 1, "by me").ticks
    engine = Engine(schedules, ticks, Trivial(tmp_path), print, after_pass=watch.after_pass)
    engine.run(threading.Event(), forever=False)
    found = figures(generate_latest(watch.registry).decode())
    assert found["aigc_schedule_ticks_total backfilled"] == len(asked) == 2
    assert found["aigc_schedule_lateness_seconds_count"] == 0


def test_a_schedule_that_nobody_has_looked_at_is_a_figure(
    tmp_path: Path, asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    store = Store.of(Workspace.at(tmp_path / "workspace"))
    schedules, ticks = Schedules(store, "here"), Ticks(store, "here")
    made = asking("0 * * * *", "UTC")
    schedules.create("nightly", made.as_document(), True, made.next_after)
    before = milliseconds(schedules.now() - timedelta(hours=3))
    with store.transaction() as connection:
        connection.execute(SCHEDULES.update().values(cursor=before, next_due=before))
    found = figures(standing(schedules, ticks).decode())
    assert (found["aigc_schedule_due"], found["aigc_schedule_unaccounted"]) == (1, 1)
