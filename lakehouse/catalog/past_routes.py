"""`/v1/tables/{table}/refs` and `/rollback`: what a table was, by name, and again."""

from functools import partial
from types import NoneType

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import reads, writes
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, page_of
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.idempotency import Once
from lakehouse.catalog.models import Ref, RefPage, RefPut, Rollback, RolledBack
from lakehouse.database import Database
from lakehouse.names import parse_table_name


class PastController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ["tables"]

    @get("/refs", guards=[reads])
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

    @get("/refs/{ref:path}", guards=[reads])
    async def get_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        ref: FromPath[str],
    ) -> Ref:
        """Say what a tag or a branch names."""
        return await database.call(lambda: catalog.refs.get(parse_table_name(table), named(ref)))

    @put("/refs/{ref:path}", guards=[writes])
    async def put_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        ref: FromPath[str],
        data: JSONBody[RefPut],
    ) -> Ref:
        """Create a tag or a branch, or change what it names and for how long. Twice is once.

        A tag that is there moves only with `move`; `main` moves only forward, to a snapshot that
        goes on from what it holds.
        """
        work = partial(catalog.refs.put, parse_table_name(table), named(ref), data)
        return await database.call(lambda: once.run(Ref, work))

    @delete("/refs/{ref:path}", guards=[writes])
    async def delete_ref(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        ref: FromPath[str],
    ) -> None:
        """Remove a tag or a branch; its snapshots stay until they expire."""
        work = partial(catalog.refs.delete, parse_table_name(table), named(ref))
        await database.call(lambda: once.run(NoneType, work))

    @post("/rollback", status_code=200, guards=[writes])
    async def roll_back(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[Rollback],
    ) -> RolledBack:
        """Make a table what it was at a snapshot, a tag or a time.

        Nothing is deleted: a rollback to what came after undoes this one, until that expires.
        """
        work = partial(catalog.refs.rollback, parse_table_name(table), data.to)
        return await database.call(lambda: once.run(RolledBack, work))


def named(path: str) -> str:
    """Return the name that the rest of a path is: other engines make branches called `a/b`."""
    return path.removeprefix("/")
