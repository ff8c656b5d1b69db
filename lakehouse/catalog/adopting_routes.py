"""`/v1/tables/{table}/adopt`: what lies in the warehouse becomes a table, without a copy."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import writes
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.idempotency import Idempotency, Once
from lakehouse.catalog.models import Adopt, Table
from lakehouse.database import Database, Lane
from lakehouse.names import parse_table_name


class AdoptingController(Controller):
    path = "/v1/tables/{table:str}/adopt"
    tags = ["tables"]

    @post(guards=[writes])
    async def adopt(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[Adopt],
    ) -> Table:
        """Make a table of Parquet files, or of an Iceberg table, that lie in the warehouse.

        Nothing is copied: the files stay whose they are, and must not change any more. Parquet
        can be added to a table that is there; a file that it has already is not added twice.
        """
        name = parse_table_name(table)

        def work(idempotency: Idempotency[Table] | None) -> Table:
            return catalog.adopting.adopt(name, data, idempotency)

        return await database.call(lambda: once.run(Table, work), Lane.LONG)
