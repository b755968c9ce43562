"""What an engine says of itself over HTTP: whether it is well, and figures for Prometheus.

    GET /healthz    200 while passes go well, 503 when none has for a minute
    GET /metrics    Prometheus' text format

It holds no definition of a schedule and no reason of a tick, hence no secret.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from aigc.errors import FactoryError
from cluster.notices import Notices
from cluster.schedules import Schedules
from cluster.ticks import Tick, Ticks
from jobs.schedule.accounting import GRACE, findings
from jobs.schedule.events import ended_notices, late_notices

WELL_SECONDS = 60.0
LATE_SECONDS = 15.0
"""As often it is looked whether ticks are late."""
BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600)


class Watch:
    """What follows from the passes of one engine: notices are written down, and ticks counted.

    Every tick is counted by one engine, whichever writes down who is told of it.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._last, self._looked = time.monotonic(), 0.0
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "aigc_schedule_ticks",
            "Ticks that have ended, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._lateness = Histogram(
            "aigc_schedule_lateness_seconds",
            "From when ticks were due until their first attempt began.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._sent = Counter(
            "aigc_schedule_notices", "Tries to notify.", ["outcome"], registry=self.registry
        )
        self._last_pass = Gauge(
            "aigc_schedule_last_pass_timestamp_seconds",
            "When the last pass that went well ended.",
            registry=self.registry,
        )

    @property
    def seconds_ago(self) -> float:
        """How long ago the last pass that went well ended, or this began."""
        return time.monotonic() - self._last

    def after_pass(self) -> None:
        """Note that one went well, and what has ended. Raises StoreUnavailable."""
        while ended := self._notices.write_down(ended_notices):
            for tick in ended:
                self._count(tick)
        if time.monotonic() - self._looked > LATE_SECONDS:
            self._notices.write_down_late(GRACE, late_notices)
            self._looked = time.monotonic()
        self._last = time.monotonic()
        self._last_pass.set_to_current_time()

    def sent(self, outcome: str) -> None:
        """Count a try to notify."""
        self._sent.labels(outcome).inc()

    def _count(self, tick: Tick) -> None:
        self._ended.labels(tick.state).inc(tick.count)
        # What is made up for was due long ago, which is no lateness of an engine's.
        if tick.started is not None and tick.backfill is None:
            self._lateness.observe(max(0.0, (tick.started - tick.due).total_seconds()))


def standing(schedules: Schedules, ticks: Ticks) -> bytes:
    """What the store says now, in Prometheus' text format. Raises StoreUnavailable."""
    registry, now = CollectorRegistry(), schedules.now()
    kept, live = schedules.all(), ticks.live()
    named = Gauge("aigc_schedule_schedules", "Schedules.", ["state"], registry=registry)
    for state in ("active", "paused"):
        named.labels(state).set(sum(each.paused == (state == "paused") for each in kept))
    alive = Gauge(
        "aigc_schedule_live_ticks", "Ticks that have not ended.", ["state"], registry=registry
    )
    for state in ("waiting", "running"):
        alive.labels(state).set(sum(each.state == state for each in live))
    due = Gauge("aigc_schedule_due", "Schedules that are due and not looked at.", registry=registry)
    due.set(sum(each.next_due is not None and each.next_due <= now for each in kept))
    wrong = Gauge(
        "aigc_schedule_unaccounted",
        "Ticks that aigc schedule check finds unaccounted for, late or lost.",
        registry=registry,
    )
    wrong.set(len(findings(kept, live, now, timedelta())))
    return generate_latest(registry)


@contextmanager
def answering(
    address: tuple[str, int], watch: Watch, stand: Callable[[], bytes]
) -> Iterator[tuple[str, int]]:
    """Answer requests while the block runs; yields where. Raises OSError."""

    class Answer(BaseHTTPRequestHandler):
        timeout = 10

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/healthz":
                self._health()
            elif path == "/metrics":
                self._metrics()
            else:
                self._answer(404, "text/plain", b"there are /healthz and /metrics\n")

        def _health(self) -> None:
            ago = watch.seconds_ago
            well = ago < WELL_SECONDS
            said = {"status": "ok" if well else "no pass went well", "seconds_ago": round(ago, 1)}
            self._answer(200 if well else 503, "application/json", json.dumps(said).encode())

        def _metrics(self) -> None:
            body = generate_latest(watch.registry)
            # What the process knows itself it says all the same.
            with suppress(FactoryError):
                body += stand()
            self._answer(200, CONTENT_TYPE_LATEST, body)

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Not a word: it would be one every few seconds."""

    server = ThreadingHTTPServer(address, Answer)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield (str(server.server_address[0]), int(server.server_address[1]))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
