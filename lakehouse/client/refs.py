"""Tags and branches of tables: names for snapshots."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4

from lakehouse.client.answers import value_of
from lakehouse.client.models import Ref, RefPage
from lakehouse.client.transport import Transport


def table_path(table: str) -> str:
    return f"/v1/tables/{quote(table, safe='')}"


class Refs:
    """`lake.refs`: what `as_of` takes beside ids and times."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, table: str) -> Iterator[Ref]:
        """Yield the table's tags and branches by name; `main` is what it is now."""
        cursor: str | None = None
        while True:
            path = f"{table_path(table)}/refs"
            response = self._transport.send("GET", path, params={"cursor": cursor})
            page = value_of(response, RefPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, table: str, name: str) -> Ref:
        """Return one of them; `NotFoundError` when there is none."""
        return value_of(self._transport.send("GET", ref_path(table, name)), Ref)

    def put(
        self,
        table: str,
        name: str,
        type: Literal["tag", "branch"],
        *,
        at: int | str | datetime | None = None,
        move: bool = False,
        **retention: int,
    ) -> Ref:
        """Create a tag or a branch, or change it. The same twice is once.

        Args:
            table: `name` or `namespace.name`.
            name: of the tag or branch; `main` is the table itself, and moves only forward.
            type: of one that is there, what it is.
            at: a snapshot id, a time, or another tag or branch; None for the table as it is now,
                or for where it is already.
            move: a tag that is there goes to another snapshot.
            retention: `max_ref_age_ms`; of branches `min_snapshots_to_keep` and
                `max_snapshot_age_ms`.

        Raises:
            NotFoundError: no such table or snapshot.
            ConflictError: the name is taken, or `main` would lose what it holds.
        """
        body: dict[str, Any] = {"type": type, "move": move, **retention}
        if at is not None:
            body["snapshot_id"] = at
        return value_of(self._transport.send("PUT", ref_path(table, name), json=body), Ref)

    def delete(self, table: str, name: str) -> None:
        """Remove a tag or a branch; its snapshots stay until they expire."""
        key = {"Idempotency-Key": uuid4().hex}
        self._transport.send("DELETE", ref_path(table, name), headers=key)


def ref_path(table: str, name: str) -> str:
    return f"{table_path(table)}/refs/{quote(name, safe='')}"
