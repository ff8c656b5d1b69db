"""What happens to every request before and after its route: trace id, log line, counters, guard."""

import logging
import re
import secrets
import time
from collections.abc import Iterable

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from lakehouse.errors import PermissionDeniedError
from lakehouse.observability import Metrics, trace_id

log = logging.getLogger("lakehouse.requests")

TRACE_HEADER = "X-Lakehouse-Trace-Id"
TRACE = re.compile(r"[!-~]{1,128}")
LOOPBACK_HOSTS = frozenset(["localhost", "127.0.0.1", "[::1]"])
SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])


class ForeignHostError(PermissionDeniedError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"the Host {host[:80]!r} is not this server's; add it to server.allowed_hosts"
        )


class ForeignOriginError(PermissionDeniedError):
    def __init__(self, origin: str) -> None:
        super().__init__(f"requests from the origin {origin[:80]!r} are refused")


class Edge:
    """The outermost layer of the app. Counts what is inside, so that a stop can wait for it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        given = headers.get(TRACE_HEADER.lower().encode(), b"").decode("latin-1")
        trace = given if TRACE.fullmatch(given) else secrets.token_hex(16)
        token = trace_id.set(trace)
        started, status = time.perf_counter(), 500

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                MutableScopeHeaders(message)[TRACE_HEADER] = trace
            await send(message)

        self.inside += 1
        self._metrics.inside.inc()
        try:
            await self._app(scope, receive, send_traced)
        finally:
            self.inside -= 1
            self._metrics.inside.dec()
            seconds = time.perf_counter() - started
            route = scope.get("path_template") or "none"
            self._metrics.requests.labels(scope["method"], route, status).inc()
            self._metrics.request_seconds.labels(scope["method"], route).observe(seconds)
            log.info(
                "%s %s %d",
                scope["method"],
                scope["path"],
                status,
                extra={"status": status, "duration_ms": round(seconds * 1000, 2)},
            )
            trace_id.reset(token)


def check_caller(scope: Scope, allowed_hosts: Iterable[str]) -> None:
    """Refuse what a web page of somebody else could send to a server on loopback.

    A name that somebody points at 127.0.0.1 shows in Host (DNS rebinding), a form or a fetch of a
    foreign page in Origin. Source: `security.md`, Who may do what.
    """
    headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
    host = headers.get(b"host", "")
    name = re.sub(r":\d+$", "", host).lower()
    if name not in LOOPBACK_HOSTS and name not in allowed_hosts:
        raise ForeignHostError(host)
    origin = headers.get(b"origin")
    if origin is not None and origin != f"{scope['scheme']}://{host}":
        raise ForeignOriginError(origin)
