"""Metrics for Prometheus, over all processes: counted where events pass (`events.watch`), read by the web process.

Each process keeps its counters in files of a shared directory, which prometheus-client adds up; a worker that was
started again goes on counting. Label values come from our own vocabulary, never from strangers, so their number is
bounded. `METRICS` lists them, docs/reference/metrics.md is made from it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_CODE = re.compile(r"[245][0-9]{2}")
_KNOWN_MEANING = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind`: counter, gauge or histogram."""

    kind: str
    doc: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "postroad_events_total": Metric("counter", "Events of the log, by name, whatever its level.", ("event",)),
    "postroad_messages_accepted_total": Metric("counter", "Messages answered 250.", ("via",)),
    "postroad_recipients_accepted_total": Metric("counter", "Recipients of those messages.", ("via",)),
    "postroad_octets_accepted_total": Metric("counter", "Octets of those messages.", ("via",)),
    "postroad_refusals_total": Metric("counter", "Commands and messages refused, by the reply's code.", ("code",)),
    "postroad_deliveries_total": Metric(
        "counter", "Attempts by recipient: what became of them, and what the reply meant.", ("outcome", "meaning")
    ),
    "postroad_authentications_total": Metric("counter", "Attempts to authenticate.", ("result",)),
    "postroad_commit_seconds": Metric("histogram", "From the end of a message to its safety on the disk."),
    "postroad_sessions": Metric("gauge", "Receiving sessions now open."),
    "postroad_connections_out": Metric("gauge", "Connections to other mail hosts now open."),
    "postroad_deliveries_under_way": Metric("gauge", "Deliveries now under way."),
    "postroad_recipients_in_memory": Metric("gauge", "Recipients held in memory, ready or waiting for their time."),
    "postroad_heartbeat_seconds": Metric("gauge", "When each worker was last seen at work (seconds since 1970)."),
    "postroad_queue_messages": Metric("gauge", "Messages in the queue."),
    "postroad_queue_recipients": Metric("gauge", "Recipients still to be settled."),
    "postroad_queue_due": Metric("gauge", "Recipients that are due now."),
    "postroad_queue_held": Metric("gauge", "Messages held for an operator."),
    "postroad_queue_damaged": Metric("gauge", "Messages set aside as unreadable."),
    "postroad_queue_oldest_seconds": Metric("gauge", "Age of the oldest message in the queue."),
    "postroad_disk_free_octets": Metric("gauge", "Free space where the state directory is."),
    "postroad_certificate_expiry_seconds": Metric("gauge", "When the certificate ends (seconds since 1970)."),
}


def prepare(directory: Path) -> None:
    """Begin anew: what earlier runs counted is over. In the supervisor, before there are workers."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)


class Counting:
    """The metrics of one worker. Made after the fork, in its process."""

    def __init__(self, directory: Path) -> None:
        os.environ[DIRECTORY_VARIABLE] = str(directory)
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = CollectorRegistry()

        def counter(name: str) -> Counter:
            metric = METRICS[name]
            return Counter(name.removesuffix("_total"), metric.doc, metric.labels, registry=registry)

        def gauge(name: str) -> Gauge:
            return Gauge(name, METRICS[name].doc, registry=registry, multiprocess_mode="livesum")

        self._events = counter("postroad_events_total")
        self._accepted = counter("postroad_messages_accepted_total")
        self._recipients = counter("postroad_recipients_accepted_total")
        self._octets = counter("postroad_octets_accepted_total")
        self._refusals = counter("postroad_refusals_total")
        self._deliveries = counter("postroad_deliveries_total")
        self._auth = counter("postroad_authentications_total")
        self._commits = Histogram(
            "postroad_commit_seconds",
            METRICS["postroad_commit_seconds"].doc,
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self._heartbeat = Gauge(
            "postroad_heartbeat_seconds",
            METRICS["postroad_heartbeat_seconds"].doc,
            registry=registry,
            multiprocess_mode="liveall",
        )
        self._gauges = {name: gauge(name) for name in GAUGES}
        self._by_event: dict[str, Callable[[], None]] = {}
        self._watching: Mapping[str, Callable[[Mapping[str, object]], None]] = {
            "message.accepted": self._message,
            "session.rejected": self._refusal,
            "auth.succeeded": lambda _: self._auth.labels("succeeded").inc(),
            "auth.failed": lambda _: self._auth.labels("failed").inc(),
            **{f"delivery.{outcome}": self._delivery(outcome) for outcome in OUTCOMES},
        }

    def watch(self, name: str, fields: Mapping[str, object]) -> None:
        """Count an event."""
        count = self._by_event.get(name)
        if count is None:  # at most as many as there are events
            count = self._by_event[name] = self._events.labels(name).inc
        count()
        more = self._watching.get(name)
        if more is not None:
            more(fields)

    def measured(self, now: float, values: Mapping[str, float]) -> None:
        """The state of the worker, once a second or so; `now`: wall clock."""
        self._heartbeat.set(now)
        for name, value in values.items():
            self._gauges[name].set(value)

    def _message(self, fields: Mapping[str, object]) -> None:
        via = "submission" if fields.get("user") else "mx"
        self._accepted.labels(via).inc()
        self._recipients.labels(via).inc(_number(fields.get("recipients")))
        self._octets.labels(via).inc(_number(fields.get("octets")))
        took = fields.get("commit_s")
        if isinstance(took, float):
            self._commits.observe(took)

    def _refusal(self, fields: Mapping[str, object]) -> None:
        code = str(fields.get("reply"))[:3]
        self._refusals.labels(code if _CODE.fullmatch(code) else "other").inc()

    def _delivery(self, outcome: str) -> Callable[[Mapping[str, object]], None]:
        def count(fields: Mapping[str, object]) -> None:
            meaning = str(fields.get("meaning") or "accepted")
            self._deliveries.labels(outcome, meaning if _KNOWN_MEANING.fullmatch(meaning) else "other").inc()

        return count


GAUGES = (
    "postroad_sessions",
    "postroad_connections_out",
    "postroad_deliveries_under_way",
    "postroad_recipients_in_memory",
)
OUTCOMES = ("delivered", "deferred", "bounced", "dropped")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def gone(directory: Path, pid: int) -> None:
    """A worker has ended: its gauges count no more, its counters stay."""
    for name in ("livesum", "liveall"):
        (directory / f"gauge_{name}_{pid}.db").unlink(missing_ok=True)


def exposition(directory: Path, extra: Iterable[tuple[str, float]]) -> bytes:
    """What Prometheus reads: the metrics of all workers, and `extra` gauges measured now. Blocks on the disk."""
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector

    registry: CollectorRegistry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    measured = list(extra)

    class Now:
        def collect(self) -> Iterable[GaugeMetricFamily]:
            for name, value in measured:
                family = GaugeMetricFamily(name, METRICS[name].doc)
                family.add_metric([], value)
                yield family

    registry.register(Now())
    return generate_latest(registry)
