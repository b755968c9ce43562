"""What a hand-over costs on top of a bare Ray Job, and how often a job is there after faults."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from harness import ROOT, median, table
from proxy import Proxy
from ray_head import RayHead, ray_head

import cluster.head
from aigc.data.importers import import_dataset
from cluster.head import Head, JobRequest, Room
from cluster.workspace import Workspace
from jobs.handover import handing
from jobs.progress import Silent
from jobs.session import open_planning
from jobs.spec import load
from jobs.specs import SPECS
from jobs.submission import prepare
from submitting.listing import Figures, Goals

FAULTS = ("refuse", "halve", "reset", "pass", "500", "slow", "halve", "refuse", "reset", "hang")
"""Of the POSTs in turn: nobody listens, or the connection ends before the request is read, in the
middle of it, or after it, when the reply is torn; or it is late, or never comes, or is an error."""
LANES = 10
"""Hand-overs at once, each by a way of its own."""
SPEC = SPECS / "tiny" / "vae.yaml"


def overhead(pairs: int, figures: Figures, goals: Goals) -> None:
    """From the request to the first process of the entrypoint, ours beside a bare one in turn: of
    the hand-over alone, which both ask for in this process, and of the whole commands."""
    with _cluster() as head, tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        import_dataset(workspace.datasets, "digits")
        turns = [
            (
                _started(_bare(head)),
                _started(_ours(head, workspace)),
                _started(_bare_command(head)),
                _started(_our_command(head, workspace)),
            )
            for _ in range(pairs)
        ]
    names = ("bare Ray Job", "ours", "ray job submit", "aigc submit --on URL")
    rows = [(name, median(each), min(each), max(each)) for name, each in _columns(names, turns)]
    table(("until the entrypoint is started", "median s", "least", "most"), rows)
    extra = median([ours - bare for bare, ours, _, _ in turns])
    whole = median([ours - bare for _, _, bare, ours in turns])
    figures |= {"overhead_seconds": extra, "overhead_of_command_seconds": whole}
    goals["1 s / what a hand-over adds to a bare Ray Job"] = (1 / max(extra, 1e-3), 1.0)


def exactly_once(jobs: int, figures: Figures, goals: Goals) -> None:
    """So many jobs handed over by ways that lose connections: the head counts them, and each says
    in a file that it has run."""
    with _cluster() as running, _impatient(), tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        began = time.perf_counter()
        with ThreadPoolExecutor(LANES) as pool:
            lanes = [range(first, jobs, LANES) for first in range(LANES)]
            met = sum(pool.map(lambda lane: _handed_over(running, lane, said), lanes), Counter())
        seconds = time.perf_counter() - began
        there = _there(running)
        ran = Counter(said.read_text().split())
    figures |= {"handed_over": jobs, "hand_over_seconds": seconds, "faults": dict(met)}
    goals["jobs at the head / jobs"] = (there / jobs, 1.0)
    goals["jobs / jobs at the head"] = (jobs / there, 1.0)
    goals["jobs that ran exactly once / jobs"] = (sum(n == 1 for n in ran.values()) / jobs, 1.0)
    table(
        ("jobs handed over", "at the head", "ran", "seconds", *met),
        [(jobs, there, ran.total(), seconds, *met.values())],
    )


@contextmanager
def _cluster() -> Iterator[RayHead]:
    """A cluster whose token is in the environment."""
    with ray_head() as head, pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_TOKEN", head.token or "")
        yield head


@contextmanager
def _impatient() -> Iterator[None]:
    """While the block runs, a head that is silent is given up soon, and asked again at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.head, "PAUSE_SECONDS", 0.01)
        patch.setattr(cluster.head, "ANSWER_SECONDS", 3.0)
        yield


@dataclass(frozen=True)
class _Faulty(Head):
    """A head whose POSTs meet the next fault each on their way, and other requests none."""

    way: Proxy = field(kw_only=True)
    faults: Iterator[str] = field(kw_only=True)
    met: Counter[str] = field(default_factory=Counter)

    def _ask(self, method: str, path: str, **words: Any) -> requests.Response:
        mode = next(self.faults) if method == "POST" else "pass"
        if method == "POST":
            self.met[mode] += 1
        if self.way.mode != mode:
            self.way.mode = mode
        return super()._ask(method, path, **words)


def _handed_over(running: RayHead, lane: range, said: Path) -> Counter[str]:
    """The faults that the jobs of a lane have met, each waited for before the next."""
    # Every lane begins with another fault.
    faults = itertools.islice(itertools.cycle(FAULTS), lane.start, None)
    with Proxy(running.dashboard) as way:
        head = _Faulty(way.url, way=way, faults=faults)
        for number in lane:
            name = f"job-{number:04d}"
            head.submit(JobRequest(name, f"echo {name} >> {said}", {}, {}))
            while not (job := head.job(name)) or not job.has_ended:
                time.sleep(0.2)
            assert job.state == "SUCCEEDED", job.message
    return head.met


def _there(running: RayHead) -> int:
    """How many jobs the head knows."""
    head = Head.at(running.address)
    answer = requests.get(f"{head.address}/api/jobs/", auth=head.token, timeout=120)
    return len(answer.json())


def _columns(
    names: tuple[str, ...], turns: list[tuple[float, ...]]
) -> Iterator[tuple[str, list[float]]]:
    return zip(names, map(list, zip(*turns, strict=True)), strict=True)


Submit = Callable[[str], float]
"""Submits a job that has the marker in the words of its process; when that was begun."""


def _started(submit: Submit) -> float:
    """Seconds from the request to the start of the process."""
    marker = f"marked-{os.urandom(6).hex()}"
    began = submit(marker)
    while True:
        for process in psutil.process_iter(["cmdline", "create_time"]):
            words = process.info["cmdline"] or []
            # The supervisor's shell has them, too; the process itself is what we wait for.
            if any(marker in word for word in words) and "python" in words[0]:
                started: float = process.info["create_time"] - began
                process.kill()
                return started
        time.sleep(0.01)


def _bare(head: RayHead) -> Submit:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(head.address, headers={"Authorization": f"Bearer {head.token}"})

    def submit(marker: str) -> float:
        began = time.time()
        client.submit_job(entrypoint=f"python -c 'import time; time.sleep(60)' {marker}")
        return began

    return submit


def _ours(head: RayHead, workspace: Workspace) -> Submit:
    """The package, the note and the request, as after the plan."""
    there = Head.at(head.address)
    planning = open_planning(workspace, Room(there), Silent())

    def submit(marker: str) -> float:
        submission = prepare(load(SPEC, [f"name={marker[:30]}"]), planning)
        began = time.time()
        handing(submission, planning, there, 0).deliver(there)
        return began

    return submit


def _bare_command(head: RayHead) -> Submit:
    command = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--no-wait"]
    words = ["--address", head.address, "--", "python", "-c", "import time; time.sleep(60)"]
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}
    return lambda marker: _run([*command, *words, marker], environment)


def _our_command(head: RayHead, workspace: Workspace) -> Submit:
    command = [
        sys.executable,
        "-m",
        "jobs",
        "--workspace",
        str(workspace.root),
        "submit",
        str(SPEC),
    ]
    words = ["--on", head.address, "--detach", "--yes", "--set"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return lambda marker: _run([*command, *words, f"name={marker[:30]}"], environment)


def _run(command: list[str], environment: dict[str, str]) -> float:
    began = time.time()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return began
