"""The life of a job on a real Ray cluster: handed over, followed, cancelled, run again, lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_jobs import LONG, PLAIN, SPEC, Jobs, reaches, until
from ray_head import kill_tree, ray_head

from aigc.data.importers import import_dataset
from cluster.following import Watch
from cluster.handover import Handover
from cluster.head import Head
from cluster.submissions import newest_checkpoint, outcome, standing
from cluster.workspace import RunFolder

NIGHT = """kind: generate
name: night
model: tiny@champion
count: 3000
shard_size: 100
screening: {nights: 1, budget: 1}
gates: {missing: {at_most: 1}}
resources: {workers: 2, max_failures: 5}
publish: {dataset: night}
"""
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_a_job_runs_on_the_cluster_and_asked_again_is_the_same(jobs: Jobs) -> None:
    code, out, err = jobs.submit("evaluation.metrics=[elbo]", words=("-o", "json"))
    assert code == 0, err
    (run,) = jobs.workspace.runs()
    told = json.loads(out)

    assert told["submission"] == run.submission
    assert told["evaluation"]["figures"].keys() == {"elbo"}
    assert f"{run.submission} was handed to {jobs.head.address}" in err
    assert "begins on cluster" in err
    assert (run.logs / "worker-1.log").exists()
    made_with = json.loads(run.environment.read_text())
    assert made_with["commit"], "the commit did not travel"
    assert jobs.status(run)["state"] == "SUCCEEDED"

    note = Handover.of(run)
    code, out, err = jobs.submit("evaluation.metrics=[elbo]")
    assert code == 0
    assert "done        yes" in err
    assert Handover.of(run) == note, "it was handed over again"


def test_a_dry_run_prints_the_request_and_hands_over_nothing(jobs: Jobs) -> None:
    code, out, err = jobs.submit(words=("--dry-run",))
    request = json.loads(out)

    assert code == 0
    assert "2 × (1 CPU) fits" in err
    assert request["entrypoint"].startswith("exec python -m jobs --workspace")
    assert request["entrypoint_num_cpus"] == 0
    assert request["runtime_env"]["py_modules"][0].startswith("gcs://")
    assert set(request["runtime_env"]["env_vars"]) <= {"AIGC_CODE", "AIGC_COMMIT"}
    assert list(jobs.workspace.runs()) == []


@pytest.mark.slow
def test_a_job_runs_on_an_open_cluster_if_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with ray_head(closed=False) as opened:
        jobs = Jobs(tmp_path / "workspace", opened, capsys)
        import_dataset(jobs.workspace.datasets, "digits")
        code, _, err = jobs.submit()
        assert code == 2
        assert "lets everyone in" in err
        code, _, err = jobs.submit(words=("--insecure-cluster",))
        assert code == 0, err


def test_what_can_never_fit_is_said_before_anything_is_sent(jobs: Jobs) -> None:
    code, out, err = jobs.submit(
        "resources.workers=1000", "resources.gpus_per_worker=10", "training.batch_size=1000"
    )
    assert (code, out) == (105, "")
    assert "the cluster has 1 node(s) with 2 CPU and 0 GPU in all" in err
    assert list(jobs.workspace.runs()) == []


def test_a_job_is_followed_from_elsewhere_and_goes_on_at_ctrl_c(jobs: Jobs) -> None:
    alone = "resources.workers=1"
    run = jobs.at_work(alone)
    status = jobs.status(run)
    assert (status["state"], status["steps"]) == ("RUNNING", 200000)

    for words in (["logs", "-f"], ["wait"]):
        command = [sys.executable, "-m", "jobs", "--workspace", str(jobs.workspace.root), "job"]
        child = subprocess.Popen([*command, *words, run.submission], stderr=subprocess.PIPE)
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        assert b"goes on" in child.communicate(timeout=30)[1]
        assert child.returncode == 130
    assert jobs.say("job", "wait", run.submission, "--timeout", "0")[0] == 101
    assert standing(run).state == "RUNNING"

    code, _, err = jobs.submit(*LONG, alone, words=("--detach",))
    assert code == 0
    assert f"{run.submission} is at work already: RUNNING" in err
    code, _, err = jobs.say("job", "cancel", run.submission)
    assert code == 0
    assert "CANCELLED" in err
    assert newest_checkpoint(run) is not None
    assert jobs.say("job", "wait", run.submission)[0] == 103


@pytest.mark.slow
def test_a_rerun_on_the_cluster_goes_on_from_the_checkpoint(jobs: Jobs) -> None:
    run = jobs.at_work()
    assert jobs.say("job", "cancel", run.submission)[0] == 0
    step = newest_checkpoint(run)
    assert step is not None
    goal = step[0] + 100
    code, _, err = jobs.say(
        *("job", "rerun", run.submission, "--on", jobs.head.address, "--yes", "--detach")
    )
    assert code == 0, err
    reaches(run, "RUNNING")
    until(lambda: (newest_checkpoint(run) or (0, 0))[0] >= goal)
    assert (
        f"going on from the checkpoint of step {step[0]}" in (run.logs / "worker-0.log").read_text()
    )


@pytest.mark.slow
def test_a_job_that_does_not_hear_is_ended_by_force(jobs: Jobs) -> None:
    run = jobs.at_work()
    held = json.loads(run.lock.read_text())
    os.kill(held["pid"], signal.SIGSTOP)
    code, _, err = jobs.say("job", "cancel", run.submission, "--grace", "1")

    assert code == 0, err
    assert "ended by force" in err
    assert standing(run).state == "CANCELLED"


def test_a_job_is_cancelled_before_it_begins(jobs: Jobs) -> None:
    run = jobs.detached(*LONG)
    code, _, err = jobs.say("job", "cancel", run.submission)

    assert code == 0, err
    note = Handover.of(run)
    assert note is not None
    head = Head.at(jobs.head.address)
    until(lambda: (job := head.job(note.job)) is None or job.has_ended)
    assert jobs.status(run)["state"] in ("CANCELLED", "STOPPED")
    assert newest_checkpoint(run) is None


def test_other_code_is_refused_on_the_cluster(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.handover.code_digest", lambda: "0" * 64)
    code, _, err = jobs.submit()
    (run,) = jobs.workspace.runs()

    assert code == 100
    assert "this process runs code" in err
    assert jobs.status(run)["state"] == "FAILED"
    assert "this process runs code" in (run.logs / "head.log").read_text()


@pytest.mark.slow
def test_the_head_is_lost_and_the_files_go_on_saying_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_head() as own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", own.token or "")
        jobs = Jobs(tmp_path / "workspace", own, capsys)
        import_dataset(jobs.workspace.datasets, "digits")
        run = jobs.at_work()
        own.stop()
        until(lambda: standing(run).has_ended)
        assert standing(run).state == "INTERRUPTED"
        assert jobs.say("job", "logs", run.submission, "--all")[0] == 0
        assert "begins on cluster" in (run.logs / "driver.log").read_text()
        step = newest_checkpoint(run)
        assert step is not None
        # The same head again, which has forgotten everything.
        own.start()
        code, _, err = jobs.say(
            *("job", "rerun", run.submission, "--on", own.address, "--yes", "--detach")
        )
        assert code == 0, err
        until(lambda: (newest_checkpoint(run) or (0, 0))[0] > step[0])
        assert jobs.say("job", "cancel", run.submission)[0] == 0
        assert outcome(run) == {}


@pytest.fixture
def apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Jobs, list[subprocess.Popen[bytes]]]]:
    """A cluster whose head has no CPU, and two nodes that have one each."""
    with ray_head(cpus=0) as own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", own.token or "")
        # One after the other: of two that start at once, one may take the other's ports.
        nodes = []
        for count in (2, 3):
            nodes.append(own.add_node(1))
            own.wait_for_nodes(count)
        jobs = Jobs(tmp_path / "workspace", own, capsys)
        import_dataset(jobs.workspace.datasets, "digits")
        yield jobs, nodes
        jobs.stop_all()


def said_by(run: RunFolder, worker: int) -> str:
    return (run.logs / f"worker-{worker}.log").read_text()


def gains(run: RunFolder, steps: int) -> None:
    """Wait until there are so many more steps behind it."""
    goal = (newest_checkpoint(run) or (0, 0))[0] + steps
    until(lambda: (newest_checkpoint(run) or (0, 0))[0] >= goal, seconds=150)


@pytest.mark.slow
def test_a_training_spans_nodes_and_outlives_one(
    apart: tuple[Jobs, list[subprocess.Popen[bytes]]],
) -> None:
    jobs, nodes = apart
    run = jobs.at_work("resources.workers=2", "resources.max_failures=3")
    assert "worker 1 of 2" in said_by(run, 1)

    kill_tree(nodes[1])
    jobs.head.wait_for_nodes(2)
    jobs.head.add_node(1)
    gains(run, 200)
    assert "going on from the checkpoint" in said_by(run, 1)
    assert standing(run).state == "RUNNING"


@pytest.mark.slow
def test_a_night_is_made_by_two_nodes(
    apart: tuple[Jobs, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    """Candidates, shards and figures by workers of both; one node dies, and nothing is missing."""
    jobs, nodes = apart
    gates = "registry={model: tiny, promote: {elbo: {at_least: -1.0e9}}}"
    assert jobs.submit("evaluation.metrics=[elbo]", gates)[0] == 0
    night = tmp_path / "night.yaml"
    night.write_text(NIGHT)
    words = ("submit", str(night), "--on", jobs.head.address, "--yes", "-o", "json")
    code, _, err = jobs.say(*words, "--detach")
    assert code == 0, err
    (run,) = (each for each in jobs.workspace.runs() if each.submission.startswith("night-"))
    until(lambda: any(run.candidates.rglob("*.parquet")), said=lambda: standing(run))
    kill_tree(nodes[1])
    jobs.head.wait_for_nodes(2)
    jobs.head.add_node(1)
    code, _, err = jobs.say("job", "wait", run.submission)
    assert code == 0, err
    told = outcome(run)
    assert told["published"]
    report = json.loads(Path(told["report"]).with_name("report.json").read_text())
    funnel = report["funnel"]
    assert funnel["accepted"] == report["labelling"]["checked"]
    assert funnel["accepted"] + sum(funnel["rejected"].values()) == funnel["made"] >= 3000


@pytest.mark.slow
def test_an_elastic_training_goes_on_with_the_nodes_there_are(
    apart: tuple[Jobs, list[subprocess.Popen[bytes]]],
) -> None:
    jobs, nodes = apart
    run = jobs.at_work("resources.workers=1..2", "resources.max_failures=3")
    assert "worker 1 of 2" in said_by(run, 1)

    kill_tree(nodes[1])
    until(lambda: "worker 0 of 1" in said_by(run, 0), seconds=150)
    gains(run, 200)
    jobs.head.add_node(1)
    until(lambda: said_by(run, 1).count("worker 1 of 2") == 2, seconds=150)
    gains(run, 200)


@pytest.mark.slow
def test_jobs_wait_in_line_and_come_to_their_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_head(resources='{"job_slot": 1}') as own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", own.token or "")
        jobs = Jobs(tmp_path / "workspace", own, capsys)
        import_dataset(jobs.workspace.datasets, "digits")
        first = jobs.at_work("name=first", "resources.workers=1")
        for name, priority in (("second", 0), ("third", 0), ("urgent", 9)):
            words = ("--detach", "--priority", str(priority))
            assert jobs.submit(*LONG, f"name={name}", "resources.workers=1", words=words)[0] == 0
        runs = {run.submission.partition("-")[0]: run for run in jobs.workspace.runs()}
        for name in ("second", "third", "urgent"):
            until(lambda name=name: standing(runs[name]).state == "QUEUED")  # type: ignore[misc]
        assert "all 1 job slots" in jobs.status(runs["second"])["reason"]

        assert jobs.say("job", "cancel", runs["third"].submission)[0] == 0
        assert jobs.status(runs["third"])["state"] == "CANCELLED"
        assert jobs.say("job", "cancel", first.submission)[0] == 0
        until(lambda: standing(runs["urgent"]).state == "RUNNING")
        assert standing(runs["second"]).state == "QUEUED"
        assert jobs.say("job", "cancel", runs["urgent"].submission)[0] == 0
        until(lambda: standing(runs["second"]).state == "RUNNING")

        # Another workspace has a line of its own, and no slot more.
        others = Jobs(tmp_path / "other", own, capsys)
        import_dataset(others.workspace.datasets, "digits")
        other = others.detached(*LONG, "resources.workers=1")
        until(lambda: standing(other).state == "QUEUED")
        assert "all 1 job slots" in others.status(other)["reason"]
        (row,) = json.loads(others.say("job", "list", "-o", "json")[1])
        assert (row["kind"], row["state"]) == ("train", "QUEUED")
        os.kill(json.loads(runs["second"].lock.read_text())["pid"], signal.SIGKILL)
        until(lambda: standing(other).state == "RUNNING")
        jobs.stop_all()
        others.stop_all()


@pytest.mark.slow
def test_a_head_that_forgets_a_job_before_it_began_is_handed_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_head() as own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", own.token or "")
        jobs = Jobs(tmp_path / "workspace", own, capsys)
        import_dataset(jobs.workspace.datasets, "digits")
        command = [sys.executable, "-m", "jobs", "--workspace", str(jobs.workspace.root), "submit"]
        set_ = [word for each in PLAIN for word in ("--set", each)]
        follower = subprocess.Popen(
            [*command, SPEC, "--on", own.address, "--yes", *set_], stderr=subprocess.PIPE, text=True
        )
        assert follower.stderr is not None
        assert any("was handed to" in line for line in follower.stderr)
        own.stop()
        (run,) = jobs.workspace.runs()
        assert standing(run).state == "PENDING"
        own.start()
        said = follower.communicate(timeout=200)[1]
        assert follower.returncode == 0, said
        assert f"has forgotten {run.submission}: handing it over again" in said
        assert standing(run).state == "SUCCEEDED"


def test_a_head_that_is_gone_before_a_job_has_begun(jobs: Jobs) -> None:
    run = jobs.workspace.run("never-begun")
    run.path.mkdir(parents=True)
    Handover("http://127.0.0.1:9", False, "never-begun-x", 0, 0).write(run)

    status = jobs.status(run)
    assert (status["state"], status["reason"]) == ("PENDING", "it was handed to http://127.0.0.1:9")
    watch = Watch(run, patience=0)
    with pytest.raises(Exception, match="has not begun, and no head answers"):
        watch.look()
    run.handover.unlink()
