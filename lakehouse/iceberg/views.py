"""Views by the protocol: made, read, replaced, renamed, dropped, and taken over."""

from functools import partial
from typing import Any

import msgspec
import orjson

from lakehouse.catalog import LoadedView, NameTakenError, ViewExistsError
from lakehouse.iceberg.calls import Answer, Call, levels_of, page_of, told
from lakehouse.iceberg.problems import RenameTakenError
from lakehouse.iceberg.protocol import Protocol
from lakehouse.iceberg.tables import TableRename
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, check_levels

Json = dict[str, Any]


async def list_views(protocol: Protocol, call: Call) -> Answer:
    def work() -> list[str]:
        namespace = protocol.namespace(call.namespace)
        return [each.name for each in protocol.catalog.views.names() if each.namespace == namespace]

    page = page_of(await on_thread(work), call.query)
    namespace = levels_of(call.namespace)
    return told(
        {
            "identifiers": [{"namespace": namespace, "name": name} for name in page.items],
            "next-page-token": page.next_token,
        }
    )


class ViewCreate(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    schema: Json
    view_version: Json
    properties: dict[str, str] = {}
    location: str | None = None


async def create_view(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(ViewCreate)

    def work() -> LoadedView:
        return protocol.catalog.views.create(
            TableName(protocol.namespace(call.namespace), asked.name),
            schema=asked.schema,
            version=asked.view_version,
            properties=asked.properties,
            location=asked.location,
        )

    return loaded(await on_thread(work))


async def load_view(protocol: Protocol, call: Call) -> Answer:
    return loaded(await on_thread(partial(protocol.view, call.view)))


async def has_view(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(protocol.view, call.view))
    return Answer(204)


class ViewCommit(msgspec.Struct, frozen=True):
    updates: list[Json]
    requirements: list[Json] = []


async def replace_view(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(ViewCommit)

    def work() -> LoadedView:
        name = protocol.view(call.view).name
        return protocol.catalog.views.commit(name, asked.updates, asked.requirements)

    return loaded(await on_thread(work))


async def drop_view(protocol: Protocol, call: Call) -> Answer:
    def work() -> None:
        protocol.catalog.views.drop(protocol.view(call.view).name)

    await on_thread(work)
    return Answer(204)


async def rename_view(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(TableRename)
    source = TableName(check_levels(asked.source.namespace), asked.source.name)
    to = TableName(check_levels(asked.destination.namespace), asked.destination.name)

    def work() -> None:
        protocol.view(source)
        try:
            protocol.catalog.views.rename(source, to)
        except ViewExistsError:
            raise RenameTakenError(str(source), str(to), "View") from None
        except NameTakenError:
            raise RenameTakenError(str(source), str(to), "Table") from None

    await on_thread(work)
    return Answer(204)


class ViewRegister(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    metadata_location: str


async def register_view(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(ViewRegister)

    def work() -> LoadedView:
        name = TableName(protocol.namespace(call.namespace), asked.name)
        return protocol.catalog.views.register(name, asked.metadata_location)

    return loaded(await on_thread(work))


def loaded(view: LoadedView) -> Answer:
    """Return the answer that a view is."""
    said = {"metadata-location": view.location, "metadata": view.metadata, "config": {}}
    return Answer(200, orjson.dumps(said))
