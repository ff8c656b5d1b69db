"""What a statement reads besides tables: what its searches find, and collections."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from lakehouse.catalog import folded
from lakehouse.query.errors import InvalidSearchError
from lakehouse.query.gate import PLAIN, Logs
from lakehouse.query.models import SqlRequest
from lakehouse.query.statements import Running

SEARCHES_MAX = 8
COLLECTIONS = "vectors"
"""Where SQL finds collections; a statement without the word asks for none."""


class Collections(Protocol):
    """What statements may read besides tables."""

    async def found(self, collection: str, asked: Mapping[str, Any]) -> pa.Table:
        """Return what a search finds, as a relation."""
        ...

    def tables(self) -> Mapping[str, Callable[[], pa.Table]]:
        """Return, by name as SQL folds it, what reads the collections that the caller may."""
        ...


async def search(running: Running, request: object, collections: Collections | None) -> None:
    """Do the searches of a statement, within its time; what they find is its own relations.

    Raises:
        InvalidSearchError: there are too many, or one has no name that a relation may have.
        LakehouseError: what a search of a collection may raise.
    """
    if not isinstance(request, SqlRequest) or not request.search:
        return
    if collections is None or len(request.search) > SEARCHES_MAX:
        raise InvalidSearchError(f"a statement has at most {SEARCHES_MAX} searches")
    for name in request.search:
        if not PLAIN.fullmatch(name):
            raise InvalidSearchError(f"{name[:80]!r} is no name for what a search finds")
    began = time.monotonic()
    async with running.cancellable(running.timeout_s):
        for name, asked in request.search.items():
            said = msgspec.structs.asdict(asked)
            running.found[folded(name)] = await collections.found(said.pop("collection"), said)
    running.engine_s += time.monotonic() - began


def relations(sql: str, collections: Collections | None, found: Mapping[str, pa.Table]) -> Logs:
    """Return what a statement may read, by the names that the gate knows."""
    known: dict[str, Callable[[], pa.Table]] = {}
    if collections is not None and COLLECTIONS in sql.lower():
        known |= collections.tables()
    return known | {f".{name}": partial(as_it_is, rows) for name, rows in found.items()}


def as_it_is(rows: pa.Table) -> pa.Table:
    return rows
