"""Views by the protocol: made, read, replaced, renamed, dropped, and taken over."""

from functools import partial
from typing import Any, TypeAlias

import msgspec

from lakehouse.catalog import LoadedView, NameTakenError, ViewExistsError
from lakehouse.iceberg.calls import Answer, Call, listing
from lakehouse.iceberg.commits import Called
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.loaded import loaded_view
from lakehouse.iceberg.problems import RenameTakenError
from lakehouse.iceberg.protocol import Protocol
from lakehouse.iceberg.tables import TableRename
from lakehouse.lanes import on_thread
from lakehouse.names import TableName

Json: TypeAlias = dict[str, Any]


async def list_views(protocol: Protocol, call: Call) -> Answer:
    def work() -> list[str]:
        namespace = protocol.namespace(call.namespace)
        return [each.name for each in protocol.catalog.views.names() if each.namespace == namespace]

    return listing(call.namespace, await on_thread(work), call.query)


class ViewCreate(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    schema: Json
    view_version: Json
    properties: dict[str, str] = {}
    location: str | None = None


async def create_view(protocol: Protocol, call: Call) -> Answer:
    called = await protocol.write(partial(call.body, Called))

    def work() -> LoadedView:
        asked = call.body(ViewCreate)
        return protocol.catalog.views.create(
            TableName(protocol.namespace(call.namespace), asked.name),
            schema=asked.schema,
            version=asked.view_version,
            properties=asked.properties,
            location=asked.location,
            idempotency=call.once(Kept.of_view),
        )

    return loaded_view(await protocol.write(work, [TableName(call.namespace, called.name)]))


async def load_view(protocol: Protocol, call: Call) -> Answer:
    return loaded_view(await on_thread(partial(protocol.view, call.view)))


async def has_view(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(protocol.view, call.view))
    return Answer(204)


class ViewCommit(msgspec.Struct, frozen=True):
    updates: list[Json]
    requirements: list[Json] = []


async def replace_view(protocol: Protocol, call: Call) -> Answer:

    def work() -> LoadedView:
        asked = call.body(ViewCommit)
        name = protocol.view(call.view).name
        keep = call.once(Kept.of_view)
        return protocol.catalog.views.commit(
            name, asked.updates, asked.requirements, idempotency=keep
        )

    return loaded_view(await protocol.write(work, [call.view]))


async def drop_view(protocol: Protocol, call: Call) -> Answer:
    def work() -> None:
        name = protocol.view(call.view).name
        protocol.catalog.views.drop(name, idempotency=call.once(lambda _: Kept()))

    await protocol.write(work, [call.view])
    return Answer(204)


async def rename_view(protocol: Protocol, call: Call) -> Answer:
    asked = await protocol.write(partial(call.body, TableRename))
    source, to = asked.source.named, asked.destination.named

    def work() -> None:
        protocol.view(source)
        try:
            protocol.catalog.views.rename(source, to, idempotency=call.once(lambda _: Kept()))
        except ViewExistsError:
            raise RenameTakenError(source, to, "View") from None
        except NameTakenError:
            raise RenameTakenError(source, to, "Table") from None

    await protocol.write(work, [source, to])
    return Answer(204)


class ViewRegister(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    metadata_location: str


async def register_view(protocol: Protocol, call: Call) -> Answer:
    asked = await protocol.write(partial(call.body, ViewRegister))

    def work() -> LoadedView:
        name = TableName(protocol.namespace(call.namespace), asked.name)
        keep = call.once(Kept.of_view)
        return protocol.catalog.views.register(name, asked.metadata_location, idempotency=keep)

    return loaded_view(await protocol.write(work, [TableName(call.namespace, asked.name)]))
