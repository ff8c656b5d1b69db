"""Memory for items on their way in or out: who finds none waits, and is refused in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lakehouse.vectors.answers import check_bytes
from lakehouse.vectors.errors import NoRoomForItemsError, TooManyBytesError

BYTES_EACH = 5
"""What a byte of JSON takes on its way in: the body, each number as an object of 24 bytes and in a
list, as float32, and as a row of Arrow. A number has 8 to 20 bytes of JSON."""
BODY_MAX_BYTES = 64 * 1024 * 1024
"""Of one request: 10,000 vectors of 256 numbers are 30 MB of JSON."""
WAIT_S = 10.0


class Room:
    """All of it on the event loop.

    Args:
        bytes_max: for all requests together.
    """

    def __init__(self, bytes_max: int, *, wait_s: float = WAIT_S) -> None:
        self.body_max_bytes = min(BODY_MAX_BYTES, bytes_max // BYTES_EACH)
        self._free = bytes_max
        self._wait_s = wait_s
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def taken(self, body_bytes: int) -> AsyncIterator[None]:
        """Hold what a body of so many bytes takes, in this block.

        Raises:
            TooManyBytesError: it is over what one request may have.
            NoRoomForItemsError: others have it, and none of them has ended in time.
        """
        if body_bytes > self.body_max_bytes:
            raise TooManyBytesError(body_bytes, self.body_max_bytes)
        async with self._held(body_bytes):
            yield

    @asynccontextmanager
    async def answering(self, rows_bytes: int) -> AsyncIterator[None]:
        """Hold what an answer takes on its way out, of rows of so many bytes, in this block.

        Raises:
            AnswerTooLargeError: it is over what one answer may have.
            NoRoomForItemsError: others have it, and none of them has ended in time.
        """
        check_bytes(rows_bytes, self.body_max_bytes)
        async with self._held(rows_bytes):
            yield

    @asynccontextmanager
    async def _held(self, body_bytes: int) -> AsyncIterator[None]:
        needed = body_bytes * BYTES_EACH
        try:
            async with asyncio.timeout(self._wait_s):
                while self._free < needed:
                    self._given_back.clear()
                    await self._given_back.wait()
        except TimeoutError:
            raise NoRoomForItemsError from None
        self._free -= needed
        try:
            yield
        finally:
            self._free += needed
            self._given_back.set()
