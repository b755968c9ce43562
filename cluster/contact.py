"""When records are delivered: in the background of a job, and what earlier jobs have left behind.

A store that does not answer is left alone for a while that doubles up to MOST_SECONDS, and costs
one call then: nothing but a thread ever waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential_jitter,
)

from aigc.errors import DataError, FactoryError
from cluster.beside import beside
from cluster.cursor import OPEN, Cursor
from cluster.delivery import Delivery
from cluster.errors import AlreadyRunning, RunMissing, TrackingUnavailable
from cluster.journal import JournalReader, damaged
from cluster.record import TrackedRun
from cluster.tails import whole
from cluster.tracking import Tracking
from cluster.workspace import RunFolder

POLL_SECONDS = 0.5
"""Between two looks for something to deliver."""
MOST_SECONDS = 30.0
RUN_MISSING_ATTEMPTS = 4
"""Until it is said that a run is not there yet."""

log = logging.getLogger(__name__)


@contextmanager
def delivering(tracked: TrackedRun) -> Iterator[None]:
    """Deliver the record as it grows, in a thread of its own, while the block runs."""

    def deliver(halt: threading.Event) -> None:
        delivery = Delivery(tracked.tracking, tracked.folder, halt)
        _patiently(delivery.drain, halt, _say_once)
        while not halt.wait(POLL_SECONDS):
            _patiently(delivery.drain, halt, _say_once)

    with beside(deliver, "delivery"):
        yield


@contextmanager
def in_contact(tracking: Tracking) -> Iterator[None]:
    """Deliver what earlier submissions have left, in a thread of its own, while the block runs."""

    def deliver(halt: threading.Event) -> None:
        _patiently(lambda: _deliver_all(tracking, halt), halt)

    with beside(deliver, "leftovers"):
        yield


@dataclass(frozen=True)
class Delivered:
    """What became of the record of one submission.

    `points` and `entries` were delivered now, `waits` and `refused` count both kinds. `status` is
    what MLflow says of the run, None before it has one. `reason` says why something waits.
    """

    submission: str
    status: str | None
    points: int
    entries: int
    waits: int
    refused: int
    reason: str | None


def left_behind(tracking: Tracking) -> list[RunFolder]:
    """The submissions that have something to tell this store, those begun first coming first.

    The runs of those that no process holds any more are closed on the way. One whose record is
    damaged is among them, to be told of: it must not keep the others waiting.
    """
    found = []
    for run in tracking.workspace.runs():
        cursor = Cursor.of(run, tracking.store)
        if cursor.status == OPEN or cursor.is_behind(run):
            try:
                begun, store, _ = _standing(run)
                if store == tracking.store and has_news(tracking, run):
                    found.append((begun, run))
            except DataError:
                found.append((0, run))
    return [run for _, run in sorted(found, key=lambda each: each[0])]


def waiting_elsewhere(tracking: Tracking) -> int:
    """How many submissions have something to tell another store than this one."""
    count = 0
    for run in tracking.workspace.runs():
        with suppress(DataError):
            _, store, _ = _standing(run)
            if store not in (None, tracking.store):
                count += Cursor.of(run, store).is_behind(run)
    return count


def has_news(tracking: Tracking, run: RunFolder) -> bool:
    """Whether the store is to hear of the submission; its run is closed if it is an orphan."""
    _, _, status = _standing(run)
    if status == OPEN:
        _reap(tracking, run)
    return Cursor.of(run, tracking.store).is_behind(run)


def deliver_left_behind(
    tracking: Tracking, runs: Sequence[RunFolder], halt: threading.Event | None = None
) -> Iterator[Delivered]:
    """Deliver what these have to tell. A store that does not answer one is not asked again."""
    silence: str | None = None
    for run in runs:
        delivery, reason = Delivery(tracking, run, halt), silence
        try:
            # A damaged record does not say which store it is for: nothing of it is sent.
            _standing(run)
            if silence is None:
                delivery.drain()
        except RunMissing as error:
            reason = str(error)
        except TrackingUnavailable as error:
            reason = silence = str(error)
        except FactoryError as error:
            # Of this one alone: the others may arrive all the same.
            reason = str(error)
        cursor = Cursor.of(run, tracking.store)
        yield Delivered(
            run.submission,
            cursor.status,
            delivery.points,
            delivery.entries,
            _waiting(run, cursor),
            sum(1 for _ in JournalReader(run.refused)),
            reason,
        )


def waiting(tracked: TrackedRun) -> int:
    """How many points and entries MLflow does not have yet."""
    return _waiting(tracked.folder, Cursor.of(tracked.folder, tracked.tracking.store))


def _deliver_all(tracking: Tracking, halt: threading.Event) -> None:
    delivered = deliver_left_behind(tracking, left_behind(tracking), halt)
    if reasons := [each.reason for each in delivered if each.reason is not None]:
        raise TrackingUnavailable(reasons[0])


def _waiting(run: RunFolder, cursor: Cursor) -> int:
    """Entries of the outbox, points and pictures; as far as a damaged file can be read."""
    waits = 0
    with suppress(DataError):
        for _ in JournalReader(run.outbox, cursor.outbox):
            waits += 1
        for entry in JournalReader(run.journal, cursor.journal):
            figures = entry.get("figures")
            waits += len(figures) if isinstance(figures, dict) else 1
    return waits


def _standing(run: RunFolder) -> tuple[int, str | None, str | None]:
    """When the submission was begun first, for which store last, and the status of its record."""
    begun, store, status = 0, None, None
    for entry in JournalReader(run.outbox):
        if "begin" in entry:
            try:
                begun, store, status = begun or int(entry["time"]), entry["begin"]["store"], OPEN
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(run.outbox, "begins no attempt, though it says so") from error
        status = entry.get("end", status)
    return begun, store, status


def _reap(tracking: Tracking, run: RunFolder) -> None:
    """Close the run of a submission that no process holds, as of its last sign of life: as KILLED,
    or as FINISHED where its outcome is there."""
    with suppress(AlreadyRunning), run.locked(patience=0):
        _, store, status = _standing(run)
        if status != OPEN:
            return
        files = [path for path in (run.outbox, run.journal) if path.exists()]
        last = max(path.stat().st_mtime_ns for path in files) // 1_000_000
        ended = "FINISHED" if _outcome_store(run) == store else "KILLED"
        TrackedRun(tracking, run).append({"end": ended}, time=last)


def _outcome_store(run: RunFolder) -> str | None:
    """The store that the submission's outcome was recorded for, if it has ended well."""
    return whole(run.outcome).get("store")


def _patiently(
    act: Callable[[], None],
    halt: threading.Event,
    say: Callable[[RetryCallState], None] | None = None,
) -> None:
    """Act, again after a while as long as it raises a FactoryError and nobody says halt."""
    Retrying(
        retry=retry_if_exception_type(FactoryError),
        wait=wait_exponential_jitter(multiplier=POLL_SECONDS, max=MOST_SECONDS),
        sleep=sleep_using_event(halt),
        stop=stop_when_event_set(halt),
        before_sleep=say,
        retry_error_callback=lambda _: None,
    )(act)


def _say_once(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    # A trial is often quicker than the delivery of the search that its run belongs below.
    worth_saying = RUN_MISSING_ATTEMPTS if isinstance(error, RunMissing) else 1
    if state.attempt_number == worth_saying:
        log.warning("%s; the record waits in the run's folder", error)
