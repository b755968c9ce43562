"""Bringing the record of a submission to MLflow: outbox and journal, each entry once.

Whoever delivers holds the submission's delivery lock, and notes in its folder how far it got. What
was sent but not noted is sent again, and that changes nothing: the run is found by its tag, a point
is its key, time, step and value, artifacts have their names, and a version its submission.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, LifecycleStage, Metric, Param, RunTag
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES, MLFLOW_PARENT_RUN_ID
from PIL import Image, UnidentifiedImageError

from aigc.data.files import write_json
from aigc.errors import first_line
from cluster.cursor import OPEN, Cursor
from cluster.errors import (
    ClusterError,
    ModelNotFound,
    RunMissing,
    TrackingRefused,
    TrackingUnavailable,
)
from cluster.evaluation import Evaluation
from cluster.journal import Entry, JournalReader, Lines, is_count
from cluster.judgement import Gates
from cluster.ledger import Cause
from cluster.locks import exclusive
from cluster.promotion import promote
from cluster.registry import ModelVersion, Registry, open_registry
from cluster.tracking import SUBMISSION_TAG, Tracking, answered
from cluster.workspace import RunFolder

BATCH_POINTS = 1000
BATCH_PARAMS = 100
"""What MLflow takes in one call."""
BEGUN_TAG = "aigc.begun"
"""A word of its own for each begin: by it two runs are known to be one that was made twice."""

log = logging.getLogger(__name__)


class Delivery:
    """Brings what one submission has to tell to the store. `halt` ends it between two calls."""

    def __init__(
        self, tracking: Tracking, run: RunFolder, halt: threading.Event | None = None
    ) -> None:
        self._tracking, self._run = tracking, run
        self._halt = halt or threading.Event()
        self._cursor = Cursor(tracking.store)
        self.points = self.entries = 0

    def drain(self) -> None:
        """Deliver what there is. Raises TrackingUnavailable, and DataError for a damaged file."""
        with exclusive(self._run.delivery_lock):
            self._cursor = Cursor.of(self._run, self._tracking.store)
            if not self._cursor.is_behind(self._run):
                return
            self._tracking.silence = None
            try:
                self._drain_outbox()
                self._drain_journal()
            except RunMissing:
                raise
            except TrackingUnavailable as silence:
                self._tracking.silence = silence
                raise

    def _drain_outbox(self) -> None:
        cursor = self._cursor
        outbox = JournalReader(self._run.outbox, cursor.outbox)
        for entry in outbox:
            if "end" in entry:
                self._drain_journal()
            if self._halt.is_set():
                return
            self._deliver(entry)
            cursor.outbox = outbox.offset
            cursor.note(self._run)

    def _drain_journal(self) -> None:
        cursor = self._cursor
        if cursor.run_id is None:
            return
        journal, points = JournalReader(self._run.journal, cursor.journal), list[Metric]()
        read = journal.offset
        for entry in journal:
            added = self._points_or_none(entry)
            if points and len(points) + len(added) > BATCH_POINTS:
                # Before this entry, so that no batch is cut into a whole one and a few points.
                self._log(points)
                points = []
                cursor.journal = read
                cursor.note(self._run)
            points += added
            if "picture" in entry:
                self._deliver(entry)
            read = journal.offset
            if self._halt.is_set():
                return
        self._log(points)
        if cursor.journal < journal.offset:
            cursor.journal = journal.offset
            cursor.note(self._run)

    def _deliver(self, entry: Entry) -> None:
        """Send one entry. What MLflow will never take is put aside, so that the rest arrives."""
        send = next((send for kind, send in _KINDS.items() if kind in entry), None)
        if self._cursor.run_id is None and send is not Delivery._begin:
            raise TrackingUnavailable(f"the outbox {self._run.outbox} does not begin with a run")
        try:
            if send is None:
                raise TrackingRefused(f"this version knows no entry of {', '.join(entry)}")
            with _sound(entry):
                send(self, entry)
            self.entries += 1
        except (TrackingRefused, ModelNotFound) as refusal:
            if send is Delivery._begin:
                raise TrackingUnavailable(refusal.what, refusal.next_step) from refusal
            self._require_run()
            self._put_aside(entry, refusal)

    def _points_or_none(self, entry: Entry) -> list[Metric]:
        try:
            return _points(entry)
        except TrackingRefused as refusal:
            self._put_aside(entry, refusal)
            return []

    def _put_aside(self, entry: Entry, refusal: ClusterError) -> None:
        log.warning("%s: %s", self._run.submission, refusal)
        lines = Lines(self._run.refused)
        lines.append(json.dumps({"why": refusal.what, "entry": entry}))
        lines.close()

    @property
    def _run_id(self) -> str:
        assert self._cursor.run_id is not None
        return self._cursor.run_id

    def _begin(self, entry: Entry) -> None:
        """Find the run or make it, and say that it is running."""
        tracking, asked = self._tracking, entry["begin"]
        run_id = self._cursor.run_id or tracking.run_of(self._run.submission)
        with answered():
            if run_id is not None:
                tracking.client.update_run(run_id, status=OPEN)
            else:
                tags = {SUBMISSION_TAG: self._run.submission, **asked["tags"], **self._above(asked)}
                run_id = tracking.client.create_run(
                    tracking.experiment, entry["time"], tags, asked["name"]
                ).info.run_id
        self._cursor.run_id, self._cursor.status = run_id, OPEN

    def _above(self, asked: Entry) -> dict[str, str]:
        """The tag of a trial: the run of its search, which has to be there first."""
        if asked["parent"] is None:
            return {}
        search = self._tracking.run_of(asked["parent"])
        if search is None:
            raise RunMissing(f"the run of the search {asked['parent']} is not there yet")
        return {MLFLOW_PARENT_RUN_ID: search}

    def _params(self, entry: Entry) -> None:
        params = [Param(name, value) for name, value in entry["params"].items()]
        with answered():
            for start in range(0, len(params), BATCH_PARAMS):
                some = params[start : start + BATCH_PARAMS]
                self._tracking.client.log_batch(self._run_id, params=some)

    def _tags(self, entry: Entry) -> None:
        tags = [RunTag(name, value) for name, value in entry["tags"].items()]
        with answered():
            self._tracking.client.log_batch(self._run_id, tags=tags)

    def _input(self, entry: Entry) -> None:
        dataset = MlflowDataset(**entry["input"])
        tag = InputTag("mlflow.data.context", entry["context"])
        with answered():
            self._tracking.client.log_inputs(self._run_id, [DatasetInput(dataset, [tag])])

    def _figures(self, entry: Entry) -> None:
        self._log(_points(entry))

    def _log(self, points: list[Metric]) -> None:
        for start in range(0, len(points), BATCH_POINTS):
            self._send(points[start : start + BATCH_POINTS])

    def _send(self, points: list[Metric]) -> None:
        """Send points in one call; of a batch that is refused, all but the points that are why."""
        try:
            with answered():
                self._tracking.client.log_batch(self._run_id, metrics=points)
            self.points += len(points)
        except TrackingRefused as refusal:
            self._require_run()
            if len(points) > 1:
                half = len(points) // 2
                self._send(points[:half])
                self._send(points[half:])
            else:
                self._put_aside(dict(points[0]), refusal)

    def _require_run(self) -> None:
        """Raise RunMissing if somebody has deleted the run: it refuses everything then."""
        with suppress(TrackingRefused), answered():
            found = self._tracking.client.get_run(self._run_id)
            if found.info.lifecycle_stage == LifecycleStage.ACTIVE:
                return
        raise RunMissing(
            f"the run of {self._run.submission} was deleted in MLflow",
            f"Restore it there, or remove {self._run.path}",
        )

    def _attach(self, entry: Entry) -> None:
        path = _there(Path(entry["attach"]))
        client = self._tracking.client
        send = client.log_artifacts if path.is_dir() else client.log_artifact
        with answered():
            send(self._run_id, str(path), entry["folder"])

    def _picture(self, entry: Entry) -> None:
        """A picture with MLflow's step slider: as `log_image`, but by the same name each time; and
        what is written in it, where it is words."""
        source = _there(self._run.path / entry["picture"])
        key = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._run.submission}/{entry['picture']}")
        name = f"samples+step+{entry['step']}+timestamp+{entry['time']}+{key}"
        client = self._tracking.client
        with tempfile.TemporaryDirectory() as folder:
            try:
                shutil.copy(source, f"{folder}/{name}.png")
                with Image.open(source) as picture:
                    compress_image_size(picture).save(f"{folder}/{name}+compressed.webp")
            except UnidentifiedImageError as error:
                raise TrackingRefused(f"{source} is no picture") from error
            with answered():
                client.log_artifacts(self._run_id, folder, "images")
        with answered():
            client.set_tag(self._run_id, MLFLOW_LOGGED_IMAGES, True)
            if (words := source.with_suffix(".txt")).exists():
                client.log_artifact(self._run_id, str(words), source.parent.name)

    def _register(self, entry: Entry) -> None:
        """Register a model that had to wait, and judge it."""
        asked, registry = entry["register"], self._registry
        version = registry.register(
            asked["name"], self._run_id, self._run.submission, asked["digest"], asked["tags"]
        )
        self._record(registry, version, entry)

    def _judge(self, entry: Entry) -> None:
        """Record an evaluation that had to wait, and judge by it."""
        registry = self._registry
        self._record(registry, registry.resolve(entry["judge"]), entry)

    @property
    def _registry(self) -> Registry:
        return open_registry(self._tracking.workspace, self._tracking)

    def _record(self, registry: Registry, version: ModelVersion, entry: Entry) -> None:
        outcome: Entry = {"model": str(version)}
        if entry["evaluation"] is not None:
            evaluation = Evaluation(**entry["evaluation"])
            registry.record(version, evaluation)
            if entry["gates"] is not None:
                gates = Gates.model_validate(entry["gates"])
                registry.require(version, gates)
                cause = Cause(**entry["cause"])
                verdict = promote(registry, version, evaluation, gates, cause)
                outcome["verdict"] = verdict.as_dict()
        write_json(self._run.registration, outcome)

    def _end(self, entry: Entry) -> None:
        """Close the run, and remove what a lost reply left beside it."""
        client, run_id = self._tracking.client, self._run_id
        with answered():
            client.set_terminated(run_id, entry["end"], entry["time"])
            runs = self._tracking.runs_of(self._run.submission)
            begun = {run.info.run_id: run.data.tags.get(BEGUN_TAG) for run in runs}
            for twin, word in begun.items():
                if twin != run_id and word is not None and word == begun.get(run_id):
                    client.delete_run(twin)
        self._cursor.status = entry["end"]


_KINDS: dict[str, Callable[[Delivery, Entry], None]] = {
    "begin": Delivery._begin,
    "tags": Delivery._tags,
    "params": Delivery._params,
    "input": Delivery._input,
    "figures": Delivery._figures,
    "attach": Delivery._attach,
    "picture": Delivery._picture,
    "register": Delivery._register,
    "judge": Delivery._judge,
    "end": Delivery._end,
}
"""What an entry can be, by the key that only it has."""


@contextmanager
def _sound(entry: Entry) -> Iterator[None]:
    """Turn what comes of an entry of another shape than we write into TrackingRefused."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        kinds, why = ", ".join(entry)[:60], f"{type(error).__name__}: {first_line(error)}"
        raise TrackingRefused(f"a damaged entry of {kinds}: {why[:120]}") from error


def _points(entry: Entry) -> list[Metric]:
    """The points of an entry. Raises TrackingRefused where it is damaged."""
    with _sound(entry):
        figures = entry.get("figures", {})
        time, step = (_count(entry[key]) for key in ("time", "step"))
        return [Metric(name, float(value), time, step) for name, value in figures.items()]


def _count(value: object) -> int:
    if not is_count(value):
        raise TypeError(f"{value!r:.40} is no whole number of 64 bits")
    return value


def _there(path: Path) -> Path:
    """The path, if anything is there. Raises TrackingRefused: what is gone can never be sent."""
    if not path.exists():
        raise TrackingRefused(f"{path} is not there any more")
    return path
