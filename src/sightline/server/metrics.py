"""Prometheus metrics. Labels are names from the registry and routes of the app, never from a request.

Every series of an operation or a model exists, at 0, from ``attach`` on: rates are right from the first
event, and no caller can make new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sightline import __version__
from sightline.errors import SightlineError
from sightline.runtime.analyzer import Status
from sightline.runtime.lanes import LaneLoad
from sightline.runtime.memory import usage
from sightline.runtime.residency import ModelState
from sightline.runtime.telemetry import Telemetry
from sightline.server.middleware.request_log import METHODS, OTHER_METHOD
from sightline.server.open_connections import Ending

if TYPE_CHECKING:
    from sightline.server.tracing import Tracing

# From a cached vector (ms) to the request time-out (30 s) and the model loads it may wait for.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LOAD_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64)
OPENMETRICS = "application/openmetrics-text"


class States(Protocol):
    """Tells where each model stands; ``runtime.residency.Residency`` does."""

    def state(self, name: str) -> ModelState: ...


class Measured(Protocol):
    """What a scrape asks; ``runtime.engine.Engine`` answers."""

    @property
    def residency(self) -> States: ...

    def loads(self) -> Mapping[str, LaneLoad]: ...


class Metrics(Telemetry):
    """All metrics of one process, in a registry of their own."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing
        self.registry = CollectorRegistry()
        self._engine = _EngineCollector()
        self.registry.register(self._engine)
        self.registry.register(_MemoryCollector())
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Info("sightline_build", "Version of this server.", registry=self.registry).info(
            {"version": __version__}
        )
        self._requests = self._counter(
            "sightline_http_requests_total", "Requests answered.", "route", "method", "status"
        )
        self._request_s = self._seconds("sightline_http_request_seconds", "Whole request.", "route")
        self._connections = Gauge("sightline_http_connections", "Open connections.", registry=self.registry)
        self._connections_ended = self._counter(
            "sightline_http_connections_ended_total", "Connections the server closed on its own.", "reason"
        )
        for reason in Ending:
            self._connections_ended.labels(reason.value)
        self._tasks = self._counter("sightline_tasks_total", "Tasks finished.", "operation", "status")
        self._task_s = self._seconds("sightline_task_seconds", "One task, all its steps.", "operation")
        self._batch = self._histogram(
            "sightline_batch_size", "Items computed together.", BATCH_ITEMS, "model"
        )
        self._infer_s = self._seconds("sightline_infer_seconds", "Computing one batch.", "model")
        self._queue_s = self._seconds("sightline_queue_wait_seconds", "An item's wait for a slot.", "model")
        self._prepare_s = self._seconds(
            "sightline_prepare_seconds", "Decoding and resizing one item.", "model"
        )
        self._failed = self._counter("sightline_items_failed_total", "Items a model failed on.", "model")
        self._refused = self._counter(
            "sightline_items_refused_total", "Items refused by a full queue.", "model"
        )
        self._recalled = self._counter(
            "sightline_texts_recalled_total", "Texts whose vectors were known, so that none ran.", "model"
        )
        self._load_s = self._histogram(
            "sightline_model_load_seconds",
            "Loading a model, download included. In seconds.",
            LOAD_SECONDS,
            "model",
        )
        self._loaded = Gauge(
            "sightline_model_loaded", "1 while the model is in memory.", ("model",), registry=self.registry
        )

    def attach(self, engine: Measured, operations: Iterable[str]) -> None:
        """Create the series of these operations and of the engine's models; scrapes read its lanes."""
        for operation in operations:
            self._task_s.labels(operation)
            for status in Status:
                self._tasks.labels(operation, status.value)
        by_model = (
            self._batch,
            self._infer_s,
            self._queue_s,
            self._prepare_s,
            self._failed,
            self._refused,
            self._recalled,
            self._load_s,
            self._loaded,
        )
        for model in engine.loads():
            for metric in by_model:
                metric.labels(model)
        self._engine.engine = engine

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """All metrics and their content type: OpenMetrics where ``accept`` names it, else Prometheus text."""
        # A constant in place of the header itself: its version would come back in ours, unchecked.
        known = f"{OPENMETRICS}; version=1.0.0" if OPENMETRICS in (accept or "") else ""
        encode, content_type = choose_encoder(known)
        return encode(self.registry), content_type

    def request_finished(self, route: str, method: str, status: int, total_s: float) -> None:
        """One HTTP request: ``route`` is a template of the app's, never a path."""
        method = method if method in METHODS else OTHER_METHOD
        self._requests.labels(route, method, str(status)).inc()
        self._request_s.labels(route).observe(total_s)

    def count_connections(self, connections: Sized) -> None:
        """Report the length of ``connections`` as the number of open ones."""
        self._connections.set_function(lambda: len(connections))

    def connection_ended(self, reason: str) -> None:
        self._connections_ended.labels(reason).inc()

    # -- runtime.telemetry.Telemetry -----------------------------------------------------------------------

    def batch_computed(self, model: str, size: int, infer_s: float) -> None:
        self._batch.labels(model).observe(size)
        self._infer_s.labels(model).observe(infer_s)

    def item_failed(self, model: str) -> None:
        self._failed.labels(model).inc()

    def item_waited(self, model: str, prepare_s: float, queue_s: float) -> None:
        self._prepare_s.labels(model).observe(prepare_s)
        self._queue_s.labels(model).observe(queue_s)

    def item_refused(self, model: str) -> None:
        self._refused.labels(model).inc()

    def text_recalled(self, model: str) -> None:
        self._recalled.labels(model).inc()

    def model_loaded(self, model: str, load_s: float) -> None:
        self._load_s.labels(model).observe(load_s)
        self._loaded.labels(model).set(1)

    def model_unloaded(self, model: str) -> None:
        self._loaded.labels(model).set(0)

    def step(self, name: str, model: str, started_s: float, ended_s: float) -> None:
        if self.tracing is not None:
            self.tracing.step(name, model, started_s, ended_s)

    def task_finished(self, operation: str, status: str, total_s: float) -> None:
        self._tasks.labels(operation, status).inc()
        self._task_s.labels(operation).observe(total_s)

    # -- making metrics ------------------------------------------------------------------------------------

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, buckets=tuple(buckets), registry=self.registry)

    def _seconds(self, name: str, documentation: str, *labels: str) -> Histogram:
        return self._histogram(name, f"{documentation} In seconds.", SECONDS, *labels)


class _MemoryCollector(Collector):
    """The memory limit that is nearest to being reached, read at each scrape."""

    def collect(self) -> Iterator[Metric]:
        now = usage()
        yield GaugeMetricFamily(
            "sightline_memory_used_bytes", "Memory in use below the nearest limit.", now.used_bytes
        )
        yield GaugeMetricFamily(
            "sightline_memory_limit_bytes", "The nearest memory limit of this process.", now.limit_bytes
        )


class _EngineCollector(Collector):
    """Reads lanes and model states when asked, so that they cost nothing in between."""

    def __init__(self) -> None:
        self.engine: Measured | None = None

    def collect(self) -> Iterator[Metric]:
        if self.engine is None:
            return
        items = GaugeMetricFamily("sightline_lane_items", "Items admitted and unfinished.", labels=["model"])
        num_bytes = GaugeMetricFamily(
            "sightline_lane_bytes", "Decoded bytes of those items.", labels=["model"]
        )
        queued = GaugeMetricFamily("sightline_lane_queued", "Items waiting for a slot.", labels=["model"])
        states = GaugeMetricFamily(
            "sightline_model_state", "1 for the state a model is in, 0 for others.", labels=["model", "state"]
        )
        for model, load in self.engine.loads().items():
            items.add_metric([model], load.items)
            num_bytes.add_metric([model], load.num_bytes)
            queued.add_metric([model], load.queued)
            current = _state(self.engine.residency, model)
            for state in ModelState:
                states.add_metric([model, state.value], float(state is current))
        yield from (items, num_bytes, queued, states)


def _state(residency: States, model: str) -> ModelState | None:
    """None where the disk does not say: one unreadable folder must not end the scrape."""
    try:
        return residency.state(model)
    except (OSError, SightlineError):
        return None
