"""Tables by the protocol: read, dropped, renamed, and taken over from where they lie."""

from collections.abc import Sequence
from functools import partial

import msgspec

from lakehouse.catalog import (
    Adopt,
    LoadedTable,
    NameTakenError,
    TableDamagedError,
    TableExistsError,
    deletes_files,
)
from lakehouse.errors import InvalidInputError
from lakehouse.iceberg.calls import Answer, Call, listing
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.loaded import ALL, REFERENCED, etag, loaded
from lakehouse.iceberg.problems import RenameTakenError
from lakehouse.iceberg.protocol import Protocol
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, check_levels
from lakehouse.storage import ObjectNotFoundError


async def list_tables(protocol: Protocol, call: Call) -> Answer:
    def work() -> list[str]:
        namespace = protocol.namespace(call.namespace)
        return [each.name for each in protocol.catalog.names() if each.namespace == namespace]

    return listing(call.namespace, await on_thread(work), call.query)


async def load_table(protocol: Protocol, call: Call) -> Answer:
    """The metadata of a table, byte by byte as it lies there: fields that we do not know too."""
    asked = call.query.get("snapshots", ALL)
    if asked not in (ALL, REFERENCED):
        raise InvalidInputError(f"snapshots is {ALL!r} or {REFERENCED!r}, not {asked[:40]!r}")

    known = listed(call.headers.get("if-none-match", ""))
    return await on_thread(partial(current, protocol, call.table, asked, known))


def current(protocol: Protocol, name: TableName, snapshots: str, known: Sequence[str]) -> Answer:
    """Return a table as it is now, or 304 where the client knows it. Blocks."""
    table = protocol.table(name)
    while True:
        tag = etag(table, snapshots)
        if tag in known:
            return Answer(304, headers={"ETag": tag})
        try:
            return loaded(protocol, table, snapshots)
        except ObjectNotFoundError:  # gone, perhaps because the table is 100 commits further
            before, table = table, protocol.table(name)
            if table.location == before.location:
                raise TableDamagedError(str(name), "its metadata file is gone") from None


async def has_table(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(protocol.table, call.table))
    return Answer(204)


async def drop_table(protocol: Protocol, call: Call) -> Answer:
    """Take a table out of the catalog; with `purgeRequested` its files go, too.

    Those of a table that has `gc.enabled=false` stay, as they do with the reference code.
    """
    purges = call.query.get("purgeRequested", "").lower() == "true"

    def work() -> None:
        table = protocol.table(call.table)
        name, keeps_files = table.name, not deletes_files(table.metadata)
        drop = protocol.catalog.purge if purges and not keeps_files else protocol.catalog.drop
        drop(name, idempotency=call.once(lambda _: Kept()))

    await protocol.write(work, [call.table])
    return Answer(204)


class Identifier(msgspec.Struct, frozen=True):
    namespace: list[str]
    name: str

    @property
    def named(self) -> TableName:
        """The name; `InvalidNameError` when it cannot be one."""
        return TableName(check_levels(self.namespace), self.name)


class TableRename(msgspec.Struct, frozen=True):
    source: Identifier
    destination: Identifier


async def rename_table(protocol: Protocol, call: Call) -> Answer:
    asked = await protocol.write(partial(call.body, TableRename))
    source, to = asked.source.named, asked.destination.named

    def work() -> None:
        protocol.table(source)
        try:
            protocol.catalog.rename(source, to, idempotency=call.once(lambda _: Kept()))
        except TableExistsError:
            raise RenameTakenError(source, to) from None
        except NameTakenError:
            raise RenameTakenError(source, to, "View") from None

    await protocol.write(work, [source, to])
    return Answer(204)


class TableRegister(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    metadata_location: str


async def register_table(protocol: Protocol, call: Call) -> Answer:
    """Take over a table that lies in the warehouse: looked at whole before, down to its footers."""
    asked = await protocol.write(partial(call.body, TableRegister))

    def work() -> LoadedTable:
        namespace = protocol.namespace(call.namespace)
        try:
            key = protocol.store.key(asked.metadata_location)
        except ValueError:
            raise InvalidInputError("the metadata file lies outside of the warehouse") from None
        name = TableName(namespace, asked.name)
        keep = call.once(lambda _: Kept.at(name))
        for each in protocol.catalog.dropped.list():
            if each.location == protocol.store.uri(key):  # dropped here, and not purged yet
                protocol.catalog.undrop(each.name, uuid=each.uuid, to=name, idempotency=keep)
                return protocol.catalog.load(name)
        protocol.catalog.adopting.adopt(name, Adopt(metadata=key), keep)
        return protocol.catalog.load(name)

    table = await protocol.write(work, [TableName(call.namespace, asked.name)])
    return await on_thread(partial(loaded, protocol, table, ALL))


async def report_metrics(protocol: Protocol, call: Call) -> Answer:
    """What a scan of an engine cost, which nobody here keeps."""
    await on_thread(partial(protocol.table, call.table))
    return Answer(204)


def listed(header: str) -> Sequence[str]:
    """Return the tags of `If-None-Match`; a weak one of ours is as good."""
    return [each.strip().removeprefix("W/") for each in header.split(",")]
