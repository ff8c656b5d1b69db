"""Who asks: set once for each request, at the edge, and asked by whoever must know."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from lakehouse.auth.errors import ForbiddenError
from lakehouse.auth.grants import Action, Covered, Resource, allows, allows_within, covered, parts
from lakehouse.auth.models import NO_LIMITS, Grant, Limits


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks, and what they were granted."""

    name: str
    """Of the token; what snapshots, jobs and the audit log call them."""
    grants: tuple[Grant, ...]
    token_id: str | None = None
    """None for who needs no token."""
    tenant: str = "main"
    limits: Limits = NO_LIMITS
    covers: tuple[Covered, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "covers", covered(self.grants))

    def may(self, action: Action, resource: Resource) -> bool:
        """Whether the caller may do `action` to the whole of `resource`."""
        return allows(self.covers, action, resource)

    def may_somewhere(self, action: Action, resource: Resource) -> bool:
        """Whether the caller may do `action` to a part of `resource`, or to all of it."""
        return allows_within(self.covers, action, resource)

    def parts(self, action: Action, resource: Resource) -> list[Resource]:
        """Return the parts of `resource` that the caller may do `action` to, sorted."""
        return parts(self.covers, action, resource)


LOCAL_OPERATOR = Caller("local", (Grant("admin"),))
"""The owner of the data directory: over the socket, or with the directory in hand."""
OPEN_TO_ALL = Caller("anonymous", (Grant("writer"),))
"""Whoever reaches loopback while there are no tokens."""
NOBODY = Caller("nobody", ())
"""Whoever asks for what is open to everybody, or was not let in."""
THE_PROCESS = Caller("lakehouse", (Grant("admin"),))
"""What the process does by itself: maintenance, copies, expiry."""

_caller: ContextVar[Caller] = ContextVar("caller", default=THE_PROCESS)


def caller() -> Caller:
    """Return who asks; the process itself outside of any request."""
    return _caller.get()


@contextmanager
def acting(who: Caller) -> Iterator[None]:
    """Let `who` be the caller of what happens in the block, also on its threads and in its jobs."""
    token = _caller.set(who)
    try:
        yield
    finally:
        _caller.reset(token)


def may(action: Action, resource: Resource) -> bool:
    """Whether the caller may do `action` to the whole of `resource`."""
    return _caller.get().may(action, resource)


def may_somewhere(action: Action, resource: Resource) -> bool:
    """Whether the caller may do `action` to a part of `resource`, or to all of it."""
    return _caller.get().may_somewhere(action, resource)


def check_may(action: Action, resource: Resource, what: str) -> None:
    """Raise `ForbiddenError` unless the caller may do `action` to `resource`.

    Args:
        what: the resource in words.
    """
    if not may(action, resource):
        raise ForbiddenError(action, what)
