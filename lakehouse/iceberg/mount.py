"""Where the protocol is served: one ASGI handler, which reads the path as it was sent."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import msgspec
from litestar import asgi
from litestar.enums import ScopeType
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from lakehouse.api.access import reads
from lakehouse.api.idempotency import check_key
from lakehouse.api.problems import SHAPES, BodyTooLargeError
from lakehouse.api.streams import ClientGoneError
from lakehouse.auth import EVERYTHING, ForbiddenError, may_somewhere
from lakehouse.errors import LakehouseError
from lakehouse.iceberg.calls import Answer, Call, query_of, segments_of
from lakehouse.iceberg.endpoints import ENDPOINTS
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.problems import JSON, NoSuchEndpointError, shaped
from lakehouse.iceberg.protocol import Protocol
from lakehouse.lanes import on_thread

log = logging.getLogger(__name__)

PLACE = "/iceberg"
BODY_MAX_BYTES = 8 * 1024 * 1024
"""A commit of 5,000 updates is 2 MB."""


def iceberg_at(protocol: Protocol) -> ASGIRouteHandler:
    """Return the handler of all that is below `/iceberg`.

    Litestar decodes a path before it matches it, so it matches none of ours: each endpoint has its
    own guard here, asked by the same function as any route's.
    """
    SHAPES[PLACE] = shaped

    @asgi(PLACE, is_mount=True, copy_scope=True, guards=[reads])
    async def iceberg(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP, "the edge lets nothing else in"
        method, raw_path = scope["method"], scope["raw_path"].partition(b"?")[0]
        headers = {
            key.decode("latin-1").lower(): value.decode("latin-1")
            for key, value in scope["headers"]
        }
        try:
            content = await received(receive) if method == "POST" else b""
            query = query_of(scope["query_string"])
            answer = await answered(protocol, method, raw_path, query, headers, content)
        except LakehouseError as error:
            status, more, body = shaped(raw_path.decode("latin-1"), error)
            answer = Answer(status, body, more)
        await sent(send, answer, with_body=method != "HEAD")

    return iceberg


async def answered(
    protocol: Protocol,
    method: str,
    raw_path: bytes,
    query: dict[str, str],
    headers: dict[str, str],
    content: bytes,
) -> Answer:
    """Return the answer of the endpoint that a path is of.

    Raises:
        NoSuchEndpointError: it is of none.
        ForbiddenError: the caller may do such a thing to nothing at all.
        LakehouseError: what the endpoint raises.
    """
    segments = segments_of(raw_path.removeprefix(PLACE.encode()))
    for endpoint in ENDPOINTS:
        names = endpoint.match(method, segments)
        if names is not None:
            if not may_somewhere(endpoint.action, EVERYTHING):
                raise ForbiddenError(endpoint.action, "anything")
            call = Call(names, query, headers, content)
            key = headers.get("idempotency-key")
            if key is None or method in ("GET", "HEAD"):
                return await endpoint.handler(protocol, call)
            check_key(key)
            said = b"\0".join([method.encode(), raw_path, repr(sorted(query.items())).encode()])
            digest = hashlib.sha256(said + b"\0" + content).hexdigest()
            keyed = replace(call, key=key, request_hash=digest)
            return await once(protocol, partial(endpoint.handler, protocol, keyed), keyed)
    raise NoSuchEndpointError(method, "/".join(segments))


async def once(protocol: Protocol, work: Callable[[], Awaitable[Answer]], call: Call) -> Answer:
    """Return the answer of a request that has a key: the same answer when it comes again.

    Raises:
        IdempotencyInFlightError: the first one still runs.
        IdempotencyMismatchError: the key came with another request.
    """
    assert call.key is not None, "only what has a key is done once"
    keys = protocol.catalog.keys
    with keys.in_flight(call.key):
        found = await on_thread(partial(keys.find, call.key, call.request_hash))
        if found is None:
            return await work()
        kept = msgspec.json.decode(found, type=Kept)
        return await on_thread(partial(kept.answer, protocol))


async def received(receive: Receive) -> bytes:
    """Return a body.

    Raises:
        BodyTooLargeError: it is over `BODY_MAX_BYTES`.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":  # the client left
            raise ClientGoneError
        body += message["body"]
        more = message["more_body"]
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLargeError(BODY_MAX_BYTES)
    return bytes(body)


async def sent(send: Send, answer: Answer, *, with_body: bool) -> None:
    body = answer.body if with_body else b""
    headers = {"Content-Type": JSON, **answer.headers} if answer.body else answer.headers
    pairs = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    if answer.status not in (204, 304):
        pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
