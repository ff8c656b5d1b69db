"""Namespaces by the protocol: their levels, and what other engines note of them."""

from functools import partial
from urllib.parse import unquote

import msgspec

from lakehouse.iceberg.calls import Answer, Call, levels_of, namespace_of, page_of, told
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.problems import SetAndRemovedError
from lakehouse.iceberg.protocol import Protocol
from lakehouse.lanes import on_thread
from lakehouse.names import check_levels


async def list_namespaces(protocol: Protocol, call: Call) -> Answer:
    """Those at the top, or those that lie in `parent`, at once below it."""
    asked = call.query.get("parent", "")
    if "%" in asked:  # some clients escape its levels once more
        asked = unquote(asked)

    def work() -> list[str]:
        names = protocol.catalog.namespaces.list()
        if not asked:
            return [name for name in names if "." not in name]
        inside = protocol.namespace(namespace_of(asked)) + "."
        below = [name for name in names if name.startswith(inside)]
        return [name for name in below if "." not in name.removeprefix(inside)]

    page = page_of(await on_thread(work), call.query)
    found = [levels_of(name) for name in page.items]
    return told({"namespaces": found, "next-page-token": page.next_token})


class NamespaceCreate(msgspec.Struct, frozen=True):
    namespace: list[str]
    properties: dict[str, str] = {}


async def create_namespace(protocol: Protocol, call: Call) -> Answer:
    asked = await protocol.write(partial(call.body, NamespaceCreate))
    check_levels(asked.namespace)
    *inside, name = asked.namespace
    create = partial(protocol.catalog.namespaces.create, inside=inside)
    said = {"namespace": asked.namespace, "properties": asked.properties}
    keep = call.once(lambda _: Kept(200, said))
    await protocol.write(partial(create, name, properties=asked.properties, idempotency=keep))
    return told(said)


async def load_namespace(protocol: Protocol, call: Call) -> Answer:
    def work() -> dict[str, str]:
        name = protocol.namespace(call.namespace)
        return protocol.catalog.namespaces.properties(name)

    return told({"namespace": levels_of(call.namespace), "properties": await on_thread(work)})


async def drop_namespace(protocol: Protocol, call: Call) -> Answer:
    def work() -> None:
        keep = call.once(lambda _: Kept())
        protocol.catalog.namespaces.drop(protocol.namespace(call.namespace), idempotency=keep)

    await protocol.write(work)
    return Answer(204)


class PropertiesChange(msgspec.Struct, frozen=True):
    removals: list[str] = []
    updates: dict[str, str] = {}


async def change_properties(protocol: Protocol, call: Call) -> Answer:
    asked = await protocol.write(partial(call.body, PropertiesChange))
    if both := sorted(asked.updates.keys() & set(asked.removals)):
        raise SetAndRemovedError(both)
    removals = list(dict.fromkeys(asked.removals))

    def work() -> Answer:
        name = protocol.namespace(call.namespace)
        keep = call.once(lambda changed: Kept(200, changed._asdict()))
        change = protocol.catalog.namespaces.change_properties
        return told(change(name, asked.updates, removals, idempotency=keep)._asdict())

    return await protocol.write(work)


async def has_namespace(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(protocol.namespace, call.namespace))
    return Answer(204)
