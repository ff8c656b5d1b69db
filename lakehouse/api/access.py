"""What a route asks of its caller, to be seen above the function: `@get(guards=[reads])`.

A guard refuses who may not do such a thing to anything at all, before the body is read. Whether
it may be done to this table or this object is asked where that is found, by the same function:
what a caller may not see is not there for them, in the words that say so of what does not exist.
"""

from typing import Any, TypeAlias

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from lakehouse.auth import EVERYTHING, Action, ForbiddenError, may, may_somewhere

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


class Guard:
    """Lets through who may do an action to something."""

    def __init__(self, action: Action, what: str) -> None:
        self.action = action
        self._what = what

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        if not may_somewhere(self.action, EVERYTHING):
            raise ForbiddenError(self.action, self._what)


class WholeGuard(Guard):
    """Lets through who may do an action to everything: a part of it is no part of a server."""

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        if not may(self.action, EVERYTHING):
            raise ForbiddenError(self.action, self._what)


async def open_to_all(connection: Connection, handler: BaseRouteHandler) -> None:
    """Nothing is asked here; the edge says who needs a token for it."""


reads = Guard("read", "anything")
writes = Guard("write", "anything")
operates = Guard("operate", "anything: it takes a writer on everything")
administers = WholeGuard("administer", "this server")
