"""What happens to every request before and after its route: trace id, log line, counters, guard."""

import logging
import re
import secrets
import time
from collections.abc import Iterable, Iterator

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from lakehouse.api.problems import MEDIA_TYPE, HeadersTooLargeError, problem_of
from lakehouse.errors import (
    LakehouseError,
    PermissionDeniedError,
    UnavailableError,
)
from lakehouse.observability import Metrics, trace_id

log = logging.getLogger("lakehouse.requests")

TRACE_HEADER = "X-Lakehouse-Trace-Id"
TRACE_FIELD = TRACE_HEADER.lower().encode()
TRACE = re.compile(r"[!-~]{1,128}")
LOOPBACK_HOSTS = frozenset(["localhost", "127.0.0.1", "[::1]"])
OPERATIONS = frozenset(["/health", "/ready", "/metrics"])
"""Answered also while the server stops, and no reason to wait with it."""
METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
HEADERS_MAX_BYTES = 64 * 1024
PATH_LOGGED_MAX = 200
CLIENT_LEFT = 499
"""In log and metrics: nobody was there to answer. The code is nginx's."""


class ForeignHostError(PermissionDeniedError):
    """The Host is not this server's: somebody's name may point here (DNS rebinding)."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the Host {host[:80]!r} is not this server's; add it to server.allowed_hosts"
        )


class ForeignOriginError(PermissionDeniedError):
    """A web page of another origin made a browser send this."""

    def __init__(self, origin: str) -> None:
        super().__init__(f"requests from the origin {origin[:80]!r} are refused")


class StoppingError(UnavailableError):
    """The server finishes what it accepted before, and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; try again when it is back")


class Edge:
    """The outermost layer of the app. Counts what is inside, so that a stop can wait for it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = LOOPBACK_HOSTS | frozenset(allowed_hosts)
        self.inside = 0
        metrics.inside.set_function(lambda: self.inside)
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        headers = dict(scope["headers"])
        given = headers.get(TRACE_FIELD, b"").decode("latin-1")
        trace = given if TRACE.fullmatch(given) else secrets.token_hex(16)
        token = trace_id.set(trace)
        started, status, sent_bytes = time.perf_counter(), CLIENT_LEFT, 0
        unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

        async def receive_counted() -> ReceiveMessage:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def send_traced(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = [*message.get("headers", ()), (TRACE_FIELD, trace.encode())]
                if unread:  # the rest of the body still comes: no request can follow it
                    sent = [pair for pair in sent if pair[0].lower() != b"connection"]
                    sent.append((b"connection", b"close"))
                message["headers"] = sent
            elif message["type"] == "http.response.body":
                sent_bytes += len(message["body"])
            await send(message)

        counted = path not in OPERATIONS
        self.inside += counted
        try:
            refusal = self._refusal(scope, headers)
            if refusal is None:
                await self._app(scope, receive_counted, send_traced)
            else:
                await send_problem(send_traced, refusal, close=self.stopping)
        except Exception:
            status = 500 if status == CLIENT_LEFT else status
            raise
        finally:
            self.inside -= counted
            self._tell(scope, status, time.perf_counter() - started, sent_bytes)
            trace_id.reset(token)

    def _tell(self, scope: HTTPScope, status: int, seconds: float, sent_bytes: int) -> None:
        """Count the request and write its line."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = scope.get("path_template") or "none"
        self._metrics.requests(method, route, status).inc()
        self._metrics.request_seconds(method, route).observe(seconds)
        log.log(
            logging.DEBUG if scope["path"] in OPERATIONS else logging.INFO,
            "%s %s %d",
            method,
            scope["path"][:PATH_LOGGED_MAX],
            status,
            extra={
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
                "sent_bytes": sent_bytes,
            },
        )

    def _refusal(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> LakehouseError | None:
        if scope["path"] == "/health":  # open to everybody: it says nothing but that we are here
            return None
        if self.stopping and scope["path"] not in OPERATIONS:
            return StoppingError()
        if sum(len(key) + len(value) for key, value in scope["headers"]) > HEADERS_MAX_BYTES:
            return HeadersTooLargeError(HEADERS_MAX_BYTES)
        return next(foreign(scope["scheme"], headers, self._hosts), None)


def foreign(
    scheme: str, headers: dict[bytes, bytes], hosts: frozenset[str]
) -> Iterator[PermissionDeniedError]:
    """Yield why this may be what a web page of somebody else sent to a server on loopback.

    A name that somebody points at 127.0.0.1 shows in Host (DNS rebinding), a form or a fetch of a
    foreign page in Origin, an image or a link of one in Sec-Fetch-Site alone.
    Source: `security.md`, Who may do what; https://www.w3.org/TR/fetch-metadata/
    """
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if re.sub(r":\d+$", "", host) not in hosts:
        yield ForeignHostError(host)
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() != f"{scheme}://{host}":
        yield ForeignOriginError(origin.decode("latin-1"))
    site = headers.get(b"sec-fetch-site", b"none")
    if site in {b"cross-site", b"same-site"}:  # another port of this host is `same-site`
        yield ForeignOriginError(site.decode("latin-1"))


async def send_problem(send: Send, error: LakehouseError, *, close: bool) -> None:
    """Answer without a route: what is refused here has not reached one."""
    status, headers, body = problem_of(error)
    headers |= {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))}
    if close:
        headers["Connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
