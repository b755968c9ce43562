"""Submissions are listed, followed, cancelled and run again, each against a real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from aigc.data.importers import import_dataset
from cluster.holder import signed
from cluster.submissions import standing
from cluster.tracking import Tracking
from cluster.workspace import RunFolder, Workspace
from jobs.cli import main
from jobs.specs import SPECS

LONG = 100_000
"""Steps that no test waits for."""
SETTINGS = (
    "training.report_every=5",
    "training.checkpoint_every=10",
    "training.sample_every=100000",
    "resources.workers=1",
    "evaluation.metrics=[]",
    "registry=null",
)
pytestmark = pytest.mark.timeout(240)


class Jobs:
    """The command line on a workspace of its own, in this process and in children."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace, self._capsys = Workspace.at(root), capsys
        self.children = list[subprocess.Popen[str]]()

    def say(self, *words: str) -> tuple[int, str, str]:
        """The exit code, the data and the messages of `aigc job …`."""
        self._capsys.readouterr()
        code = main(["--workspace", str(self.workspace.root), "job", *words])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def data(self, *words: str) -> Any:
        """What `aigc job …` prints as JSON."""
        code, out, err = self.say(*words, "-o", "json")
        assert code == 0, err
        return json.loads(out)

    def child(self, *words: str) -> subprocess.Popen[str]:
        """`aigc …` as a process of its own."""
        command = [sys.executable, "-m", "jobs", "--workspace", str(self.workspace.root), *words]
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.children.append(child)
        return child

    def submit(self, *settings: str, place: str = "here") -> subprocess.Popen[str]:
        """A tiny training as a process of its own."""
        words = set_(*SETTINGS, *settings)
        spec = str(SPECS / "tiny" / "vae.yaml")
        return self.child("submit", spec, "--yes", "--on", place, *words)

    def running(self, steps: int = LONG, *settings: str, place: str = "here") -> RunFolder:
        """A training that has a checkpoint, and goes on."""
        child = self.submit(f"training.steps={steps}", *settings, place=place)
        while child.poll() is None:
            for run in self.workspace.runs():
                if any(run.checkpoints.glob("step-*")) and standing(run).state == "RUNNING":
                    return run
            time.sleep(0.05)
        raise AssertionError(child.communicate()[1])

    def stop_all(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()


def set_(*settings: str) -> list[str]:
    return [word for each in settings for word in ("--set", each)]


@pytest.fixture
def jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path / "workspace", capsys)
    import_dataset(jobs.workspace.datasets, "digits")
    yield jobs
    jobs.stop_all()


def mlflow_status(jobs: Jobs, run: RunFolder) -> Sequence[str]:
    return [each.info.status for each in Tracking(jobs.workspace).runs_of(run.submission)]


def test_an_empty_workspace_has_an_empty_list(jobs: Jobs) -> None:
    assert jobs.data("list") == []
    code, out, err = jobs.say("list")
    assert (code, out) == (0, "")
    assert "aigc submit" in err
    assert jobs.say("status", "x")[0] == 102


def test_a_job_is_seen_from_its_begin_to_its_end(jobs: Jobs) -> None:
    steps = 1500
    run = jobs.running(steps)
    (listed,) = jobs.data("list", "--state", "RUNNING")
    status = jobs.data("status", run.submission[:10])

    assert (listed["id"], listed["steps"], listed["ended"]) == (run.submission, steps, None)
    assert (status["state"], status["steps"], status["attempts"]) == ("RUNNING", steps, 1)
    assert 0 < status["step"] < steps
    assert status["eta_seconds"] > 0
    assert status["records_per_second"] > 0
    assert 0 < status["checkpoint"]["step"] <= steps
    assert 0 <= status["checkpoint"]["age_seconds"] < 60
    assert "autoencoder/loss" in status["figures"]
    code, _, err = jobs.say("wait", run.submission, "--timeout", "0")
    assert code == 101
    assert "has not ended after 0 s" in err

    follower = jobs.child("job", "logs", run.submission, "-f", "--all")
    assert jobs.say("wait", run.submission)[0] == 0
    said, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert said.index("begins on here") < said.index("worker 0 of 1")
    assert jobs.say("logs", run.submission, "--rank", "0")[1] in said
    code, _, err = jobs.say("logs", run.submission, "--rank", "3")
    assert code == 102
    assert "driver, worker-0" in err
    (listed,) = jobs.data("list")
    assert (listed["state"], listed["step"]) == ("SUCCEEDED", steps)
    assert jobs.data("status", run.submission)["run_id"] is not None
    code, _, err = jobs.say("cancel", run.submission)
    assert code == 2
    assert err.startswith(f"error: {run.submission} has ended already: SUCCEEDED")


def test_a_job_that_fails_says_why(jobs: Jobs) -> None:
    child = jobs.submit("training.steps=20", "model.optimizer={learning_rate: 1e+30}")
    assert child.wait(120) == 100
    (listed,) = jobs.data("list", "--state", "FAILED")
    status = jobs.data("status", listed["id"])

    assert status["reason"].startswith("TrainingDiverged: ")
    code, out, _ = jobs.say("logs", listed["id"], "-f")
    assert code == 100
    assert "Traceback" in out
    assert jobs.say("wait", listed["id"])[0] == 100


def test_a_cancelled_training_saves_its_state_and_goes_on_by_a_rerun(jobs: Jobs) -> None:
    run = jobs.running(1500)
    waiter = jobs.child("job", "wait", run.submission)
    time.sleep(1)
    code, _, err = jobs.say("cancel", run.submission)
    said = jobs.children[0].communicate(timeout=60)[1]

    assert code == 0, err
    assert jobs.children[0].returncode == 103
    assert f"{run.command} job rerun {run.submission}" in said
    assert waiter.wait(60) == 103
    status = jobs.data("status", run.submission)
    step = status["checkpoint"]["step"]
    assert status["state"] == "CANCELLED"
    assert status["reason"] == f"it was cancelled; a rerun goes on from step {step}"
    assert mlflow_status(jobs, run) == ["KILLED"]
    assert jobs.say("cancel", run.submission)[0] == 2

    rerun = jobs.child("job", "rerun", run.submission, "--on", "here", "--yes")
    rerun.communicate(timeout=120)
    assert rerun.returncode == 0
    assert (
        f"going on from the checkpoint of step {step}"
        in jobs.say("logs", run.submission, "--rank", "0")[1]
    )
    (listed,) = jobs.data("list")
    assert (listed["state"], listed["step"]) == ("SUCCEEDED", 1500)
    assert mlflow_status(jobs, run) == ["FINISHED"]


def test_what_does_not_leave_is_ended_by_force(jobs: Jobs) -> None:
    run = jobs.running()
    jobs.children[0].send_signal(signal.SIGSTOP)
    impatient = jobs.child("job", "cancel", run.submission)
    assert impatient.stderr is not None
    asked = impatient.stderr.readline()
    assert asked == f"{run.submission} is asked to end, and has 60 s for it\n"
    impatient.send_signal(signal.SIGINT)
    said = impatient.communicate(timeout=30)[1]
    assert impatient.returncode == 130
    assert f"{run.submission} goes on: it is asked to stop; nobody ends it by force now" in said
    assert jobs.children[0].poll() is None
    code, _, err = jobs.say("cancel", run.submission, "--grace", "0.5")

    assert code == 0, err
    assert "ended by force" in err
    assert jobs.children[0].wait(10) == -signal.SIGKILL
    assert standing(run).state == "CANCELLED"
    assert mlflow_status(jobs, run) == ["KILLED"]


@pytest.mark.slow
def test_only_the_process_that_holds_the_lock_is_ended(jobs: Jobs) -> None:
    run = jobs.running()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        holder = signed(run.lock)
        assert holder is not None
        assert holder.pid == jobs.children[0].pid
        # The number of the bystander, and the start of another process.
        run.lock.write_text(
            json.dumps({"host": holder.host, "pid": bystander.pid, "started": holder.started - 60})
        )
        jobs.children[0].send_signal(signal.SIGSTOP)
        code, _, err = jobs.say("cancel", run.submission, "--grace", "0.2")
        assert code == 2
        assert "is still held" in err
        assert bystander.poll() is None
        assert psutil.pid_exists(jobs.children[0].pid)
        run.lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))
        code, _, err = jobs.say("cancel", run.submission, "--grace", "0")
        assert code == 2
        assert "a process of elsewhere" in err
    finally:
        bystander.kill()
        bystander.wait()


def test_the_stop_file_alone_cancels_a_training_elsewhere(jobs: Jobs) -> None:
    run = jobs.running()
    run.lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))

    code, _, err = jobs.say("cancel", run.submission)
    assert code == 0, err
    assert jobs.children[0].wait(60) == 103


@pytest.mark.parametrize(
    ("sent", "state"), [(signal.SIGTERM, "STOPPED"), (signal.SIGKILL, "INTERRUPTED")]
)
def test_a_job_that_is_gone_is_told_from_one_that_was_stopped(
    jobs: Jobs, sent: signal.Signals, state: str
) -> None:
    run = jobs.running()
    jobs.children[0].send_signal(sent)
    jobs.children[0].wait(60)
    status = jobs.data("status", run.submission)

    assert status["state"] == state
    assert f"a rerun goes on from step {status['checkpoint']['step']}" in status["reason"]
    assert jobs.say("wait", run.submission)[0] == 101
    assert jobs.say("logs", run.submission, "-f")[0] == 101


def test_ctrl_c_ends_the_waiting_and_not_the_job(jobs: Jobs) -> None:
    run = jobs.running()
    for words in (["wait", run.submission], ["logs", run.submission, "-f"]):
        waiter = jobs.child("job", *words)
        time.sleep(2)
        waiter.send_signal(signal.SIGINT)
        said = waiter.communicate(timeout=30)[1]
        assert waiter.returncode == 130
        assert (
            f"{run.submission} goes on: it is at work; to end it: {run.command} job cancel" in said
        )
    assert standing(run).state == "RUNNING"


@pytest.mark.slow
def test_a_changed_rerun_remembers_its_parent(jobs: Jobs) -> None:
    assert jobs.submit("training.steps=20").wait(120) == 0
    (first,) = jobs.data("list")
    rerun = ["job", "rerun", first["id"][:12], "--on", "here", "--yes"]
    assert jobs.child(*rerun, *set_("training.steps=40")).wait(120) == 0
    second, _ = jobs.data("list")

    assert (second["state"], second["step"]) == ("SUCCEEDED", 40)
    assert jobs.data("status", second["id"])["rerun_of"] == first["id"]
    (run,) = Tracking(jobs.workspace).runs_of(second["id"])
    assert run.data.tags["aigc.rerun_of"] == first["id"]
    assert jobs.child(*rerun, *set_("training.stepps=40")).wait(60) == 2
    assert jobs.child(*rerun).wait(60) == 0, "it is done already"
    assert len(jobs.data("list", "--limit", "9")) == 2
    assert len(jobs.data("list", "--limit", "1")) == 1


def test_everything_is_read_while_mlflow_is_silent(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = jobs.running(500)
    assert jobs.data("status", run.submission)["run_id"] is None
    assert jobs.say("wait", run.submission)[0] == 0
    assert jobs.data("list")[0]["state"] == "SUCCEEDED"


def test_a_search_is_cancelled_with_its_trials(jobs: Jobs) -> None:
    tune = "{metric: elbo, trials: 3, fields: {model.width: {choice: [8, 16]}}}"
    child = jobs.submit(f"training.steps={LONG}", f"tune={tune}", "evaluation.metrics=[elbo]")
    while child.poll() is None:
        trials = [run for run in jobs.workspace.runs() if "-trial-" in run.submission]
        if trials and any(trials[0].checkpoints.glob("step-*")):
            break
        time.sleep(0.05)
    (search,) = [run for run in jobs.workspace.runs() if "-trial-" not in run.submission]
    assert jobs.data("status", trials[0].submission)["trial_of"] == search.submission
    assert jobs.data("status", search.submission)["trials"]["begun"] == 1
    code, _, err = jobs.say("cancel", trials[0].submission)
    assert code == 2
    assert f"{search.command} job cancel {search.submission}" in err

    code, _, err = jobs.say("cancel", search.submission)
    assert code == 0, err
    assert child.wait(60) == 103
    assert standing(search).state == "CANCELLED"
    assert standing(trials[0]).state == "STOPPED"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("grace", [60, 0])
def test_a_training_on_ray_is_cancelled(jobs: Jobs, grace: int) -> None:
    run = jobs.running(LONG, place="local")
    code, _, err = jobs.say("cancel", run.submission, "--grace", str(grace))

    assert code == 0, err
    assert jobs.children[0].wait(60) == (103 if grace else -signal.SIGKILL)
    assert standing(run).state == "CANCELLED"
    assert mlflow_status(jobs, run) == ["KILLED"]
