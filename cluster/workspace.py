"""The workspace: the folder that holds everything this installation writes, and the names in it.

datasets/NAME/VERSION/     manifest.json  shards  report.html  report.json
runs/SUBMISSION/           see RunFolder
schedules/NAME/DUE/        the job of a tick, and what became of it
line/                      the tickets of jobs that wait for a cluster, see cluster/line.py
mlflow.db  mlartifacts/    the embedded tracking store, unless MLFLOW_TRACKING_URI is set
aigc.db                    the store of decisions, unless AIGC_STORE is set
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aigc.data.files import unwritable
from aigc.errors import WorkspaceUnwritable
from cluster.errors import AlreadyRunning, WorkspaceNotFound
from cluster.holder import sign, unsign
from cluster.locks import taken

REAPING_SECONDS = 3.0
"""A submission may be held for a moment by whoever looks whether it is an orphan."""


VARIABLE, USUAL = "AIGC_WORKSPACE", "./workspace"
"""Where a command looks for the workspace when it is not told."""


def folder_at(path: str | os.PathLike[str]) -> Path:
    """The folder, by its one name: that by which a head, too, knows it."""
    return Path(os.path.abspath(Path(path).expanduser()))


def command_on(root: Path) -> str:
    """How a command on the workspace begins that one may type here."""
    if root == folder_at(os.environ.get(VARIABLE) or USUAL):
        return "aigc"
    return shlex.join(["aigc", "--workspace", str(root)])


@dataclass(frozen=True)
class RunFolder:
    """The files of one submission."""

    path: Path

    @property
    def submission(self) -> str:
        """The submission's id."""
        return self.path.name

    @property
    def command(self) -> str:
        """How a command on its workspace begins that one may type here."""
        return command_on(self.path.parent.parent)

    @property
    def spec(self) -> Path:
        """The resolved spec, YAML."""
        return self.path / "spec.yaml"

    @property
    def environment(self) -> Path:
        """What the code, its packages and the machine are, JSON."""
        return self.path / "environment.json"

    @property
    def evaluation(self) -> Path:
        """The figures of the evaluation beside their protocol, JSON, as MLflow has tables."""
        return self.path / "evaluation.json"

    @property
    def logs(self) -> Path:
        """What the driver and each worker of all attempts said."""
        return self.path / "logs"

    @property
    def outcome(self) -> Path:
        """What the submission ended with, JSON; there only once it is done."""
        return self.path / "outcome.json"

    @property
    def journal(self) -> Path:
        """The metric journal."""
        return self.path / "metrics.jsonl"

    @property
    def outbox(self) -> Path:
        """What MLflow is to know of the submission, beside the journal, in its order."""
        return self.path / "outbox.jsonl"

    @property
    def delivered(self) -> Path:
        """How much of outbox and journal MLflow has, JSON."""
        return self.path / "delivered.json"

    @property
    def refused(self) -> Path:
        """What MLflow would not take, and why, a line each."""
        return self.path / "refused.jsonl"

    @property
    def registration(self) -> Path:
        """What became of a registration that had to wait for MLflow, JSON."""
        return self.path / "registration.json"

    @property
    def delivery_lock(self) -> Path:
        """Held by whoever is delivering."""
        return self.path / ".delivery.lock"

    @property
    def trials(self) -> Path:
        """The trials of a search, JSON."""
        return self.path / "trials.json"

    @property
    def samples(self) -> Path:
        """Pictures made in training, and what is written in them."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the training."""
        return self.path / "checkpoints"

    @property
    def stop(self) -> Path:
        """There while the training is asked to save its state and end."""
        return self.path / "stop"

    @property
    def cancel(self) -> Path:
        """There when the attempt is asked to end for good: by whom and when, JSON."""
        return self.path / "cancel.json"

    @property
    def handover(self) -> Path:
        """To which head the submission was handed, JSON."""
        return self.path / "handover.json"

    @property
    def handover_lock(self) -> Path:
        """Held by whoever hands the submission over, or changes the note of it."""
        return self.path / ".handover.lock"

    @property
    def ticket(self) -> Path:
        """The submission's place in the line for a cluster, beside all others, JSON."""
        return self.path.parent.parent / "line" / f"{self.submission}.json"

    @property
    def lock(self) -> Path:
        """Held by the process of an attempt, which signs it."""
        return self.path / ".lock"

    @property
    def writer_lock(self) -> Path:
        """Held by the first worker of a training, so that an orphan never writes beside it."""
        return self.path / ".writer.lock"

    @property
    def model(self) -> Path:
        """The trained model, or the one that this submission uses."""
        return self.path / "model"

    @property
    def about(self) -> Path:
        """What is registered beside the arrays of the model: its card, and how MLflow serves it."""
        return self.path / "about"

    @property
    def attempts(self) -> Path:
        """What workers write before it is committed."""
        return self.path / "attempts"

    @property
    def begun(self) -> Path:
        """Which pieces of work workers have begun, see cluster/attendance.py."""
        return self.path / "begun"

    @property
    def candidates(self) -> Path:
        """Samples of a generation, among which its dataset's are chosen."""
        return self.path / "candidates"

    @property
    def memory(self) -> Path:
        """What the model of a generation was trained on, as its samples are compared with it."""
        return self.path / "memory"

    @property
    def plan(self) -> Path:
        """The plan of a generation, JSON."""
        return self.path / "plan.json"

    @contextlib.contextmanager
    def locked(self, wait: bool = False, patience: float = REAPING_SECONDS) -> Iterator[None]:
        """Hold the submission: attempts of one submission never run side by side.

        Raises AlreadyRunning when it is still held after `patience` seconds, unless it is to
        `wait`, and WorkspaceUnwritable.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self.lock.open("a")
        except OSError as error:
            raise unwritable(self.path, error) from error
        with lock:
            if wait:
                fcntl.flock(lock, fcntl.LOCK_EX)
            elif not taken(lock, patience):
                raise AlreadyRunning(
                    f"submission {self.submission} is running in another process",
                    "Wait for it, or change the spec to ask for another one",
                )
            sign(lock)
            try:
                yield
            finally:
                unsign(lock)


@dataclass(frozen=True)
class Workspace:
    """An installation's folder; `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Workspace:
        """The workspace at `path`, made if need be. Raises WorkspaceUnwritable."""
        workspace = cls.named(path)
        root = workspace.root
        try:
            root.mkdir(parents=True, exist_ok=True)
            (root / f".probe-{os.getpid()}").touch()
            (root / f".probe-{os.getpid()}").unlink()
        except OSError as error:
            raise unwritable(root, error) from error
        return workspace

    @classmethod
    def named(cls, path: str | os.PathLike[str]) -> Workspace:
        """The workspace at `path`, which may not be there. Raises WorkspaceUnwritable."""
        if {"?", "%"} & set(str(path)):
            raise WorkspaceUnwritable(
                f"the workspace {path} has a ? or a % in its path",
                "MLflow cannot open such a store",
            )
        if "://" in str(path):
            raise WorkspaceUnwritable(
                f"the workspace {path} is not a folder of this machine",
                "Give a local path, or mount the bucket",
            )
        return cls(folder_at(path))

    @classmethod
    def look(cls, path: str | os.PathLike[str], expected: bool = True) -> Workspace:
        """The workspace at `path` as it is, to be read; nothing is made.

        Raises WorkspaceNotFound where there is none, if one is `expected`, and WorkspaceUnwritable
        where there is something else.
        """
        workspace = cls.named(path)
        root = workspace.root
        try:
            os.scandir(root).close()
        except FileNotFoundError as error:
            if expected:
                raise WorkspaceNotFound(
                    f"there is no workspace at {root}",
                    "Check --workspace and AIGC_WORKSPACE; aigc data import and aigc submit make a "
                    "new one",
                ) from error
        except OSError as error:
            raise WorkspaceUnwritable(
                f"cannot read the workspace {root}: {error.strerror}",
                "Change its permissions, or choose another --workspace",
            ) from error
        return workspace

    @property
    def command(self) -> str:
        """How a command on it begins that one may type here."""
        return command_on(self.root)

    @property
    def datasets(self) -> Path:
        """The root of the datasets."""
        return self.root / "datasets"

    def run(self, submission: str) -> RunFolder:
        """The folder of a submission."""
        return RunFolder(self.root / "runs" / submission)

    def runs(self) -> list[RunFolder]:
        """The folder of every submission that has one."""
        folder = self.root / "runs"
        return [RunFolder(folder / name) for name in self.submissions()]

    def submissions(self) -> list[str]:
        """The ids of all submissions."""
        try:
            with os.scandir(self.root / "runs") as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def waiting(self) -> set[str]:
        """The ids of those that may wait for a cluster: a process that died left its ticket."""
        try:
            names = os.listdir(self.root / "line")
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {name.removesuffix(".json") for name in names}

    @property
    def tracking_uri(self) -> str:
        """The MLflow store: MLFLOW_TRACKING_URI, or SQLite in the workspace."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.embedded_store}"

    @property
    def embedded_store(self) -> Path | None:
        """The file of the workspace's own MLflow store; None when a server is named."""
        return None if os.environ.get("MLFLOW_TRACKING_URI") else self.root / "mlflow.db"

    @property
    def has_tracking(self) -> bool:
        """Whether there is an MLflow store to ask: to ask the embedded one makes it."""
        return self.embedded_store is None or self.embedded_store.exists()

    @property
    def store_url(self) -> str:
        """The store of decisions: AIGC_STORE, or SQLite in the workspace."""
        return os.environ.get("AIGC_STORE") or f"sqlite:///{self.root / 'aigc.db'}"

    @property
    def has_store(self) -> bool:
        """Whether there is a store of decisions: to ask one makes it."""
        return bool(os.environ.get("AIGC_STORE")) or (self.root / "aigc.db").exists()

    @property
    def artifact_location(self) -> str | None:
        """Where the embedded store keeps artifacts; None when a server decides."""
        if self.embedded_store is None:
            return None
        return (self.root / "mlartifacts").as_uri()
