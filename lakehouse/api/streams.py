"""Answers that leave in pieces, and clients that leave before the answer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol, TypeVar

import anyio
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from lakehouse.errors import InvalidInputError, LakehouseError, UnavailableError

log = logging.getLogger(__name__)
T = TypeVar("T")

WATCH_AFTER_S = 0.02
"""Seconds before anybody looks whether the client is still there."""
STALL_MAX_S = 60.0
"""Seconds that a client may take to read one piece (1 MiB) before it is given up."""


class ClientGoneError(UnavailableError):
    """Nobody reads this answer; it ends up in the log and in the metrics."""

    def __init__(self) -> None:
        super().__init__("the client has left")


class ClientStalledError(UnavailableError):
    def __init__(self) -> None:
        super().__init__(f"the client read nothing for {STALL_MAX_S:g} s")


class BodyTooSlowError(InvalidInputError):
    """Whoever sends a byte now and then would keep a place that others wait for."""

    def __init__(self, pause_max_s: float, bytes_per_s: int) -> None:
        super().__init__(
            f"the body came too slowly: it may pause {pause_max_s:g} s in all, and a second more"
            f" for each {bytes_per_s:,} bytes; nothing was done"
        )


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Return what `work` returns; it is cancelled when the client leaves. Read the body before.

    Raises:
        ClientGoneError: the client left first.
    """
    task, watcher, gone = asyncio.current_task(), None, False
    assert task is not None, "an answer is made in a task"

    async def watch() -> None:
        nonlocal gone
        await until_gone(receive)
        gone = task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = asyncio.ensure_future(watch())

    # Most answers are ready before the first look: a task for each would cost 0.2 ms.
    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise ClientGoneError from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def until_gone(receive: Receive) -> None:
    """Return when the client has left: it shows here and nowhere else, never in `send`."""
    with suppress(BodyTooSlowError):  # of a body that nobody asked for: as good as gone
        while (await receive())["type"] != "http.disconnect":
            pass


class Pieces(Response[None]):
    """An answer that is in memory already, in pieces; `release` is called once it was sent."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        *,
        media_type: str,
        headers: Mapping[str, str],
        release: Callable[[], None],
    ) -> None:
        super().__init__(None, media_type=media_type, headers=dict(headers))
        self._pieces = pieces
        self._release = release

    def to_asgi_response(
        self, app: Any, request: Request[Any, Any, Any], **options: Any
    ) -> ASGIResponse:
        headers = {**(options.get("headers") or {}), **self.headers}
        return PiecesASGI(
            self._pieces, self._release, headers=headers, media_type=str(self.media_type)
        )


class PiecesASGI(ASGIResponse):
    def __init__(
        self, pieces: Sequence[bytes], release: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(content_length=sum(map(len, pieces)), **options)
        self._pieces = pieces
        self._release = release

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    async def send_body(self, send: Send, receive: Receive) -> None:
        if len(self._pieces) == 1:
            await send_piece(send, self._pieces[0], more=False)
            return
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await until_gone(receive)
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            with anyio.CancelScope() as sending:
                for piece in self._pieces:
                    sending.deadline = anyio.current_time() + STALL_MAX_S
                    await send_piece(send, piece, more=True)
                await send_piece(send, b"", more=False)
            tasks.cancel_scope.cancel()


class Source(Protocol):
    """What `Streamed` sends: opened already, closed by it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def sending(self) -> AbstractAsyncContextManager[None]: ...


class Streamed(Response[None]):
    """An answer of unknown length. It ends early when the client leaves or stops reading.

    When the source fails on the way the connection is closed without the last chunk, so no
    client takes half an answer for a whole one.
    """

    def __init__(
        self,
        source: AbstractAsyncContextManager[Source],
        *,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, media_type=media_type, headers=dict(headers))
        self._source = source

    def to_asgi_response(
        self, app: Any, request: Request[Any, Any, Any], **options: Any
    ) -> ASGIResponse:
        headers = {**(options.get("headers") or {}), **self.headers}
        return StreamedASGI(self._source, headers=headers, media_type=str(self.media_type))


class StreamedASGI(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, source: AbstractAsyncContextManager[Source], **options: Any) -> None:
        super().__init__(**options)
        self._source = source

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            async with self._source as source:
                self._open = source
                await super().__call__(scope, receive, send)
        except LakehouseError as error:
            # Without the last chunk the server closes the connection (tried with granian).
            log.warning("a stream was cut off: %s", error.detail)

    async def send_body(self, send: Send, receive: Receive) -> None:
        errors: list[LakehouseError] = []
        sent = False
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await until_gone(receive)
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                await self._send_all(send)
                sent = True
            except LakehouseError as error:  # a task group would wrap it
                errors.append(error)
            tasks.cancel_scope.cancel()
        if errors:
            raise errors[0]
        if not sent:
            raise ClientGoneError

    async def _send_all(self, send: Send) -> None:
        async for piece in self._open:
            async with self._open.sending():
                with anyio.move_on_after(STALL_MAX_S) as stalled:
                    await send_piece(send, piece, more=True)
            if stalled.cancelled_caught:
                raise ClientStalledError
        await send_piece(send, b"", more=False)


async def send_piece(send: Send, piece: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})
