"""What happened and how it is: logs, trace ids, metrics, health."""

from lakehouse.observability.health import Health
from lakehouse.observability.logs import configure_logs, trace_id
from lakehouse.observability.metrics import Metrics

__all__ = ["Health", "Metrics", "configure_logs", "trace_id"]
