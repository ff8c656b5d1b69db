"""`/v1/tables/{table}/properties`: what maintenance does to a table, and words of its owner's."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import reads, writes
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.idempotency import Once
from lakehouse.catalog.models import PropertiesChange, TableProperties
from lakehouse.database import Database, Lane
from lakehouse.names import parse_table_name


class PropertiesController(Controller):
    path = "/v1/tables/{table:str}/properties"
    tags = ["tables"]

    @get(guards=[reads])
    async def get_properties(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
    ) -> TableProperties:
        """Return the properties that were set for a table."""
        return await database.call(lambda: catalog.properties.get(parse_table_name(table)))

    @post(status_code=200, guards=[writes])
    async def change_properties(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[PropertiesChange],
    ) -> TableProperties:
        """Set and remove properties: `{"set": {"gc.enabled": "false"}, "remove": [..]}`.

        Those of maintenance are Iceberg's own names; yours begin with `user.`.
        """
        name = parse_table_name(table)

        def work() -> TableProperties:
            return once.run(TableProperties, lambda key: catalog.properties.change(name, data, key))

        return await database.call(work, Lane.WRITE)
