"""`/health`, `/ready` and `/metrics`."""

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from lakehouse import __version__
from lakehouse.api.access import open_to_all
from lakehouse.auth import EVERYTHING, NOBODY, caller, check_may, may
from lakehouse.observability.health import Health, Readiness
from lakehouse.observability.metrics import METRICS_TYPE, Metrics


class Alive(msgspec.Struct, frozen=True):
    version: str
    status: str = "ok"
    service: str = "lakehouse"


READY = {
    200: ResponseSpec(Readiness, description="Every part works."),
    503: ResponseSpec(Readiness, description="A part does not work, or the server is stopping."),
}


class HealthController(Controller):
    tags = ["operations"]

    @get("/health", sync_to_thread=False, guards=[open_to_all])
    def get_health(self) -> Alive:
        """Say that the process answers; nothing else is asked."""
        return Alive(__version__)

    @get("/ready", responses=READY, guards=[open_to_all])
    async def get_ready(self, health: NamedDependency[Health]) -> Response[Readiness]:
        """Say whether every part works, by name, and which tables cannot be read.

        Who may not read every table is told of none.
        """
        readiness = await health.readiness()
        if not may("read", EVERYTHING):
            readiness = msgspec.structs.replace(readiness, warnings=[])
        return Response(readiness, status_code=200 if readiness.ready else 503)

    @get("/metrics", sync_to_thread=False, guards=[open_to_all])
    def get_metrics(self, metrics: NamedDependency[Metrics]) -> Response[bytes]:
        """Return the counters in Prometheus' text format: to who may read everything.

        They count what everybody does. Nobody is asked where the route is open.
        """
        if caller() is not NOBODY:
            check_may("read", EVERYTHING, "the counters of everybody")
        return Response(metrics.text(), media_type=METRICS_TYPE)
