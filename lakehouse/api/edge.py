"""What every request meets before and after its route: trace id, caller, log line, counters."""

import asyncio
import logging
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from lakehouse.api.cors import Cors
from lakehouse.api.problems import CLIENT_LEFT, HeadersTooLargeError, answer_to
from lakehouse.api.streams import BodyTooSlowError
from lakehouse.audit import Audit, AuditRow, Record, recording
from lakehouse.auth import (
    LOCAL_OPERATOR,
    NOBODY,
    Caller,
    Entrance,
    Limiter,
    RateLimitedError,
    WrongTokenError,
    acting,
)
from lakehouse.errors import (
    LakehouseError,
    PermissionDeniedError,
    UnavailableError,
)
from lakehouse.observability import Metrics, trace_id
from lakehouse.redaction import redacted

log = logging.getLogger("lakehouse.requests")

Headers: TypeAlias = Mapping[bytes, bytes]
Settled: TypeAlias = Callable[[Iterable[str]], Awaitable[bool]]
"""Whether the collections that follow tables have reached what was committed; waits a while."""

TRACE_HEADER = "X-Lakehouse-Trace-Id"
TRACE_FIELD = TRACE_HEADER.lower().encode()
INDEX_FIELD = b"x-lakehouse-index"
"""Of a write to a table that collections follow: whether they find it already."""
TRACE = re.compile(r"[!-~]{1,128}")
LOOPBACK_HOSTS = frozenset(["localhost", "127.0.0.1", "[::1]"])
OPERATIONS = frozenset(["/health", "/ready", "/metrics"])
"""Answered also while the server stops, and no reason to wait with it."""
METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
HEADERS_MAX_BYTES = 64 * 1024
BODY_PAUSE_MAX_S = 60.0
"""Seconds that a body may be waited for: at once, and in all before the rate counts."""
BODY_BYTES_PER_S = 8 * 1024
"""How fast a body must come after that; a place among a few is not held for less."""
PATH_LOGGED_MAX = 200
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer. Source: https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html"""
AUTHORIZATION = b"authorization"
REVOKED = "the token was revoked"
READ_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
QUESTIONS = re.compile(r"/v1/(sql|embed|vectors/index/[^/]+/(search|get))")
"""What is sent there changes nothing, though it is a POST: nobody waits until its row is synced."""
REFUSALS = frozenset([401, 403])


async def nobody_follows(tables: Iterable[str]) -> bool:
    return True


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


class Exchange:
    """One request and its answer, as they pass: what of them is counted, logged and audited."""

    def __init__(
        self,
        scope: HTTPScope,
        headers: Headers,
        receive: Receive,
        send: Send,
        audit: Audit,
        address: str,
        settled: Settled,
    ) -> None:
        given = headers.get(TRACE_FIELD, b"").decode("latin-1")
        self.scope = scope
        self.path = scope["path"]
        """As it was asked for: below a mount the framework takes its beginning away."""
        is_id = TRACE.fullmatch(given) and redacted(given) == given
        self.trace = given if is_id else secrets.token_hex(16)
        self.added = [(TRACE_FIELD, self.trace.encode())]
        """Fields of the answer beside its own."""
        self.caller = NOBODY
        self.noted = Record()
        self.status, self.is_answered = CLIENT_LEFT, False
        self.received_bytes = self.sent_bytes = 0
        self._waited_s = 0.0
        self._receive, self._send = receive, send
        self._audit, self._address = audit, address
        self._settled = settled
        self._started = time.perf_counter()
        self._unread = (
            headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        )
        self._is_noted = scope["method"] not in READ_METHODS
        self._is_write = self._is_noted and not QUESTIONS.fullmatch(self.path)
        self._has_row = False
        if self._is_write:
            self.noted.row = self.row

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    async def receive(self) -> ReceiveMessage:
        """Return what the client sends next.

        Raises:
            BodyTooSlowError: the rest of the body does not come, or a byte now and then.
        """
        message = await (self._receive_in_time() if self._unread else self._receive())
        if message["type"] == "http.request":
            self.received_bytes += len(message["body"])
        self._unread = self._unread and bool(message.get("more_body"))
        return message

    async def _receive_in_time(self) -> ReceiveMessage:
        earned_s = BODY_PAUSE_MAX_S + self.received_bytes / BODY_BYTES_PER_S
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(BODY_PAUSE_MAX_S, earned_s - self._waited_s)):
                return await self._receive()
        except TimeoutError:
            raise BodyTooSlowError(BODY_PAUSE_MAX_S, BODY_BYTES_PER_S) from None
        finally:
            self._waited_s += time.monotonic() - began

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.is_answered = message["status"], True
            await self._keep_row()
            if self.noted.followed:
                is_found = await self._settled(self.noted.followed)
                self.added.append((INDEX_FIELD, b"ready" if is_found else b"pending"))
            sent = [*message.get("headers", ()), *SAFE_HEADERS, *self.added]
            if self._unread:  # the rest of the body still comes: no request can follow it
                sent = [pair for pair in sent if pair[0].lower() != b"connection"]
                sent.append((b"connection", b"close"))
            message["headers"] = sent
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message["body"])
        await self._send(message)

    def row(self) -> AuditRow:
        """Return the request as the audit log has it by now."""
        return AuditRow(
            began_at=time.time() - self.seconds(),
            caller=self.caller.name,
            token_id=self.caller.token_id,
            address=self._address,
            trace_id=self.trace,
            method=self.scope["method"],
            path=redacted(self.path)[:PATH_LOGGED_MAX],
            status=self.status if self.is_answered else 0,
            sql_sha256=self.noted.sql_sha256,
            tables=sorted(self.noted.tables),
            row_count=self.noted.row_count,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            duration_s=self.seconds(),
        )

    async def _keep_row(self) -> None:
        """Have the row of a write or a refusal on the disk before anybody is told."""
        if self._is_write or self.status in REFUSALS:
            self._has_row = True
            if self.noted.audit_id is None:  # no change of a table, which stores it with it
                await self._audit.write(self.row())

    def leave_row(self) -> None:
        """Have the log say how the request ended, soon."""
        if self.noted.audit_id is not None:
            self._audit.answered(self.noted.audit_id, self.row())
        elif not self._has_row and (self._is_noted or self.noted.sql_sha256):
            self._audit.later(self.row())


class Edge:
    """The outermost layer of the app. Counts what is inside, so that a stop can wait for it.

    Args:
        entrance: says who asks.
        limiter: knows what each token may still ask for.
        audit: keeps what was written, refused or asked in SQL.
        settled: waits for collections that follow the tables that a request changed.
        open_routes: paths that nobody needs a token for.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        entrance: Entrance,
        limiter: Limiter,
        audit: Audit,
        *,
        allowed_hosts: Iterable[str] = (),
        open_routes: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
        settled: Settled = nobody_follows,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._entrance = entrance
        self._limiter = limiter
        self._audit = audit
        self._hosts = LOOPBACK_HOSTS | frozenset(allowed_hosts)
        self._open_routes = frozenset(open_routes)
        self._cors = Cors(cors_origins)
        self._settled = settled
        self._schemes = ("http", "https") if entrance.proxies else ("http",)
        """Of our pages: a proxy in front may speak TLS."""
        self._of_tokens: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self.inside = 0
        metrics.inside.set_function(lambda: self.inside)
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request from the network."""
        await self._serve(scope, receive, send, self._admitted)

    async def from_operator(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request from the socket that only the owner of the data directory can open."""
        await self._serve(scope, receive, send, lambda scope, headers: LOCAL_OPERATOR)

    def end_requests_of(self, token_ids: Iterable[str]) -> None:
        """Break off what tokens that are no longer valid have under way. On the loop."""
        for token_id in token_ids:
            for task in self._of_tokens.get(token_id, ()):
                task.cancel(REVOKED)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        admitted: Callable[[HTTPScope, Headers], Caller],
    ) -> None:
        if scope["type"] != ScopeType.HTTP:
            with acting(NOBODY):  # nothing asked who it is
                await self._app(scope, receive, send)
            return
        headers = joined(scope["headers"])
        address = self._address(scope)
        exchange = Exchange(scope, headers, receive, send, self._audit, address, self._settled)
        exchange.added.extend(self._cors.allowing(headers))
        token = trace_id.set(exchange.trace)
        counted = scope["path"] not in OPERATIONS
        self.inside += counted
        try:
            if preflight := self._cors.preflight(scope["method"], headers):
                await send_empty(exchange.send, 204, preflight)
                return
            exchange.caller = admitted(scope, headers)
            await self._asked(exchange)
        except LakehouseError as refusal:  # of the entrance: a route answers its own errors
            if isinstance(refusal, RateLimitedError):
                exchange.added.extend(self._limiter.headers(exchange.caller))
            await send_problem(exchange.send, exchange.path, refusal, close=self.stopping)
        except asyncio.CancelledError as cancelled:
            if REVOKED not in cancelled.args or exchange.is_answered:
                raise
            await send_problem(exchange.send, exchange.path, WrongTokenError(), close=True)
        except Exception:
            exchange.status = exchange.status if exchange.is_answered else 500
            raise
        finally:
            self.inside -= counted
            exchange.leave_row()
            self._tell(exchange)
            trace_id.reset(token)

    async def _asked(self, exchange: "Exchange") -> None:
        """Let the app answer a caller who may ask, within what its token may still ask for."""
        caller = exchange.caller
        with (
            self._limiter.enter(caller) as usage,
            acting(caller),
            recording(exchange.noted),
            self._of_token(caller),
        ):
            if usage is not None:
                exchange.added.extend(self._limiter.headers(caller))
            try:
                await self._app(exchange.scope, exchange.receive, exchange.send)
            finally:
                if usage is not None:
                    self._limiter.count(usage, exchange.noted.uncounted())

    @contextmanager
    def _of_token(self, caller: Caller) -> Iterator[None]:
        """Know the request by its token while the block runs: a revocation ends it."""
        task = asyncio.current_task()
        if caller.token_id is None or task is None:
            yield
            return
        tasks = self._of_tokens[caller.token_id]
        tasks.add(task)
        try:
            yield
        finally:
            tasks.discard(task)
            if not tasks:
                self._of_tokens.pop(caller.token_id, None)

    def _tell(self, exchange: "Exchange") -> None:
        """Count the request and write its line."""
        scope, status, seconds = exchange.scope, exchange.status, exchange.seconds()
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = scope.get("path_template") or "none"
        self._metrics.requests(method, route, status).inc()
        self._metrics.request_seconds(method, route).observe(seconds)
        log.log(
            logging.DEBUG if exchange.path in OPERATIONS else logging.INFO,
            "%s %s %d",
            method,
            redacted(exchange.path)[:PATH_LOGGED_MAX],
            status,
            extra={
                "caller": exchange.caller.name,
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
                "sent_bytes": exchange.sent_bytes,
            },
        )

    def _address(self, scope: HTTPScope) -> str:
        """Return where a request comes from, behind the proxies that we trust."""
        if not self._entrance.proxies:
            return peer_of(scope)
        return self._entrance.address(joined(scope["headers"]), peer_of(scope))

    def _origins(self, headers: Headers) -> frozenset[str]:
        """Return the origins of pages that may ask: our own, as this request names us, and more."""
        return self._cors.origins | {f"{each}://{host_of(headers)}" for each in self._schemes}

    def _admitted(self, scope: HTTPScope, headers: Headers) -> Caller:
        """Return who asks, if they may ask at all; raise what they are told if not."""
        path = scope["path"]
        if sum(len(key) + len(value) for key, value in scope["headers"]) > HEADERS_MAX_BYTES:
            raise HeadersTooLargeError(HEADERS_MAX_BYTES)
        if path == "/health":  # open to everybody: it says nothing but that we are here
            return NOBODY
        if self.stopping and path not in OPERATIONS:
            raise StoppingError
        if self._entrance.is_loopback:
            for refusal in foreign(headers, self._hosts, self._origins(headers)):
                raise refusal
        if path in self._open_routes:
            return NOBODY
        if AUTHORIZATION not in headers:  # a proxy may vouch for whatever its user's browser sends
            for refusal in of_foreign_page(headers, self._origins(headers)):
                raise refusal
        return self._entrance.caller(headers, peer_of(scope))


def peer_of(scope: HTTPScope) -> str:
    """Return the address that the connection is from; empty for a socket of this machine."""
    return scope["client"][0] if scope["client"] else ""


def joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return header fields by name; the values of one that is there twice are a list.

    So two of Host or Origin are none of ours: nobody chooses which of them is looked at.
    """
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found.clear()
    for name, value in pairs:
        found[name] = found[name] + b"," + value if name in found else value
    return found


def foreign(
    headers: Headers, hosts: frozenset[str], origins: Container[str]
) -> Iterator[PermissionDeniedError]:
    """Yield why this may be what a web page of somebody else sent to a server on loopback.

    A name that somebody points at 127.0.0.1 shows in Host (DNS rebinding).
    Source: `security.md`, Who may do what
    """
    host = host_of(headers)
    if re.sub(r":\d+$", "", host) not in hosts:
        yield ForeignHostError(host)
    yield from of_foreign_page(headers, origins)


def of_foreign_page(headers: Headers, origins: Container[str]) -> Iterator[PermissionDeniedError]:
    """Yield why a page of somebody else may have made a browser send this.

    A form or a fetch of a foreign page shows in Origin, an image or a link of one in
    Sec-Fetch-Site alone.

    Args:
        origins: of pages that may ask.
    Source: https://www.w3.org/TR/fetch-metadata/
    """
    if b"origin" in headers:
        origin = headers[b"origin"].decode("latin-1")
        if origin and origin.lower() in origins:
            return
        yield ForeignOriginError(origin)
    site = headers.get(b"sec-fetch-site", b"none")
    if site in {b"cross-site", b"same-site"}:  # another port of this host is `same-site`
        yield ForeignOriginError(site.decode("latin-1"))


def host_of(headers: Headers) -> str:
    return headers.get(b"host", b"").decode("latin-1").lower()


async def send_problem(send: Send, path: str, error: LakehouseError, *, close: bool) -> None:
    """Answer without a route: what is refused here has not reached one."""
    status, headers, body = answer_to(path, error)
    headers |= {"Content-Length": str(len(body))}
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


async def send_empty(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
