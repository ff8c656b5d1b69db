"""`/v1/tables/{table}/schema`: what columns a table has and had, and their evolution."""

import hashlib
from contextlib import ExitStack
from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import reads, writes
from lakehouse.api.idempotency import IdempotencyKey, check_key
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.idempotency import Idempotency
from lakehouse.catalog.schema_models import SchemaEvolve, TableSchema
from lakehouse.database import Database, Lane
from lakehouse.names import parse_table_name


class SchemaController(Controller):
    path = "/v1/tables/{table:str}/schema"
    tags = ["tables"]

    @get(guards=[reads])
    async def get_schema(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
    ) -> TableSchema:
        """Return the columns of a table with their field ids, and all its earlier schemas."""
        return await database.call(lambda: catalog.schemas.get(parse_table_name(table)))

    @post(
        status_code=200,
        responses={200: ResponseSpec(TableSchema, description="The schemas as they are now.")},
        guards=[writes],
    )
    async def evolve_schema(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        data: JSONBody[SchemaEvolve],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Add, widen, rename, drop and move columns: all changes in one commit, or none.

        No file is rewritten. Each change finds what those before it have made; when one cannot be
        made, nothing is changed, and the answer says why of each.
        """
        check_key(key)
        name, body = parse_table_name(table), await request.body()

        def work() -> bytes:
            with ExitStack() as stack:
                once = None
                if key is not None:
                    stack.enter_context(catalog.keys.in_flight(key))
                    said = b"\0".join([b"schema", str(name).encode(), body])
                    once = Idempotency(key, hashlib.sha256(said).hexdigest(), msgspec.json.encode)
                    if (answer := catalog.keys.find(key, once.request_hash)) is not None:
                        return answer
                return msgspec.json.encode(catalog.schemas.evolve(name, data, once))

        return Response(await database.call(work, Lane.WRITE), media_type="application/json")
