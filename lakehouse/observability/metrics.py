"""What is counted, for Prometheus."""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

METRICS_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ["method", "route", "status"]
        self.requests = Counter(
            "lakehouse_requests", "Requests answered.", labels, registry=self._registry
        )
        self.request_seconds = Histogram(
            "lakehouse_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.inside = Gauge(
            "lakehouse_requests_inside", "Requests being answered.", registry=self._registry
        )
        self.statements = Counter(
            "lakehouse_statements", "SQL statements.", ["outcome"], registry=self._registry
        )
        self.statement_rows = Counter(
            "lakehouse_statement_rows", "Rows sent as results.", registry=self._registry
        )
        self.loads = Counter(
            "lakehouse_loads", "Loads committed.", ["mode"], registry=self._registry
        )
        self.loaded_rows = Counter(
            "lakehouse_loaded_rows", "Rows committed.", registry=self._registry
        )
        Gauge("lakehouse_info", "Which version runs.", ["version"], registry=self._registry).labels(
            version
        ).set(1)
        Gauge(
            "lakehouse_started_seconds", "When it started, Unix time.", registry=self._registry
        ).set(time.time())

    def text(self) -> bytes:
        return generate_latest(self._registry)
