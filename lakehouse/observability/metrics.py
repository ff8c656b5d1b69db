"""What is counted, for Prometheus."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

METRICS_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # its memory, threads, files, processor time
        PlatformCollector(registry=self._registry)
        # By their labels: to look up a child costs more than to count (20 µs a request).
        self.requests = cache(
            self._counter("requests", "Requests answered.", "method", "route", "status").labels
        )
        self.request_seconds = cache(
            self._histogram(
                "request_seconds",
                "From the first byte of a request to the last of its answer.",
                "method",
                "route",
            ).labels
        )
        self.inside = Gauge(
            "lakehouse_requests_inside", "Requests being answered.", registry=self._registry
        )
        self.statements = cache(
            self._counter("statements", "SQL statements ended.", "outcome").labels
        )
        self.statement_seconds = cache(
            self._histogram(
                "statement_seconds", "From the admission of a statement to its end.", "format"
            ).labels
        )
        self.statement_rows = self._counter("statement_rows", "Rows sent as results.")
        self.statement_bytes = self._counter("statement_bytes", "Bytes sent as results.")
        self.loads = cache(self._counter("loads", "Loads committed.", "mode").labels)
        self.loaded_rows = self._counter("loaded_rows", "Rows that loads committed.")
        self.loaded_bytes = self._counter("loaded_bytes", "Bytes of the files and rows taken in.")
        self.jobs = self._counter("jobs", "Jobs ended.", "kind", "state")
        self.maintenance_runs = self._counter(
            "maintenance_runs",
            "Runs of maintenance with something to do.",
            "task",
            "outcome",
        )
        self.maintenance_bytes = self._counter(
            "maintenance_bytes", "Bytes that maintenance rewrote or deleted.", "task"
        )
        self.maintenance_seconds = self._histogram(
            "maintenance_seconds", "What a run of maintenance took.", "task"
        )
        self.gauge("started_seconds", "When the process started, Unix time.", time.time())
        Gauge(
            "lakehouse_build_info", "Which version runs.", ["version"], registry=self._registry
        ).labels(version).set(1)

    def gauge(self, name: str, meaning: str, value: float | Callable[[], float]) -> None:
        """Add a value that is fixed, or asked for whenever somebody reads the metrics."""
        gauge = Gauge(f"lakehouse_{name}", meaning, registry=self._registry)
        if callable(value):
            gauge.set_function(value)
        else:
            gauge.set(value)

    def gauges(
        self, name: str, meaning: str, label: str, values: Callable[[], Mapping[str, float]]
    ) -> None:
        """Add a value for each of some things, asked for whenever somebody reads the metrics.

        Args:
            values: by what the label says; who gives them bounds how many they are.
        """
        self._registry.register(Gauges(f"lakehouse_{name}", meaning, label, values))

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"lakehouse_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(
            f"lakehouse_{name}", meaning, labels, buckets=SECONDS, registry=self._registry
        )


class Gauges(Collector):
    def __init__(
        self, name: str, meaning: str, label: str, values: Callable[[], Mapping[str, float]]
    ) -> None:
        self._about = (name, meaning)
        self._label = label
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(*self._about, labels=[self._label])
        for said, value in self._values().items():
            family.add_metric([said], value)
        yield family
