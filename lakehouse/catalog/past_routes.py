"""`/v1/tables/{table}/refs` and `/rollback`: what a table was, by name, and again."""

import hashlib
from typing import Any

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.idempotency import IdempotencyKey, check_key
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, page_of
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.idempotency import Idempotency
from lakehouse.catalog.models import Ref, RefPage, RefPut, Rollback, RolledBack
from lakehouse.catalog.names import folded, parse_table_name
from lakehouse.database import Database


class PastController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ["tables"]

    @get("/refs")
    async def list_refs(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> RefPage:
        """List the tags and branches of a table by name; `main` is what it is now."""

        def work() -> RefPage:
            found = catalog.refs.list(parse_table_name(table))
            return RefPage(*page_of(found, lambda ref: ref.name, limit, cursor))

        return await database.call(work)

    @get("/refs/{ref:str}")
    async def get_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        ref: FromPath[str],
    ) -> Ref:
        """Say what a tag or a branch names."""
        return await database.call(lambda: catalog.refs.get(parse_table_name(table), ref))

    @put("/refs/{ref:str}")
    async def put_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        ref: FromPath[str],
        data: JSONBody[RefPut],
    ) -> Ref:
        """Create a tag or a branch, or change what it names and for how long. Twice is once.

        A tag that is there moves only with `move`; `main` moves only forward, to a snapshot that
        goes on from what it holds.
        """
        return await database.call(lambda: catalog.refs.put(parse_table_name(table), ref, data))

    @delete("/refs/{ref:str}")
    async def delete_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        ref: FromPath[str],
    ) -> None:
        """Remove a tag or a branch; its snapshots stay until they expire."""
        await database.call(lambda: catalog.refs.delete(parse_table_name(table), ref))

    @post(
        "/rollback",
        status_code=200,
        responses={200: ResponseSpec(RolledBack, description="What the table is at now.")},
    )
    async def roll_back(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        data: JSONBody[Rollback],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Make a table what it was at a snapshot, a tag or a time.

        Nothing is deleted: a rollback to what came after undoes this one, until that expires.
        """
        check_key(key)
        work = answered(catalog, table, data, key)
        return Response(await database.call(work), media_type="application/json")


def answered(catalog: Catalog, table: str, data: Rollback, key: str | None) -> Any:
    """Return the work of a rollback: its answer as JSON, the stored one where there is one."""
    name = parse_table_name(table)

    def work() -> bytes:
        if key is None:
            return msgspec.json.encode(catalog.refs.rollback(name, data.to))
        request = f"rollback\0{folded(str(name))}\0{data.to}"
        request_hash = hashlib.sha256(request.encode()).hexdigest()
        with catalog.in_flight(key):
            stored = catalog.replay(key, request_hash)
            if stored is not None:
                return stored
            idempotency = Idempotency(key, request_hash, msgspec.json.encode)
            done = catalog.refs.rollback(name, data.to, idempotency=idempotency)
            return msgspec.json.encode(done)

    return work
