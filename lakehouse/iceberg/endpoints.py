"""The endpoints of the protocol that are served: what is not in this table is not advertised.

A client takes an endpoint that the configuration does not list for one that is not there.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec
import orjson

from lakehouse.auth import Action
from lakehouse.catalog import (
    Adopt,
    Catalog,
    LoadedTable,
    NamespaceNotFoundError,
    TableExistsError,
    TableNotFoundError,
)
from lakehouse.errors import InvalidInputError
from lakehouse.iceberg.calls import Answer, Call, levels_of, namespace_of, page_of, told
from lakehouse.iceberg.problems import (
    NoSuchNamespaceError,
    NoSuchTableError,
    RenameTakenError,
    SetAndRemovedError,
)
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, check_levels
from lakehouse.storage import Store

Handler: TypeAlias = Callable[["Protocol", Call], Awaitable[Answer]]

REFERENCED = "refs"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the endpoints work with.

    Args:
        storage: what a client is told of the object store: where it is, never a key.
    """

    catalog: Catalog
    store: Store
    storage: Mapping[str, str]


async def config(protocol: Protocol, call: Call) -> Answer:
    """What a client should know before all else: which endpoints there are."""
    listed = [f"{each.method} {each.template}" for each in ENDPOINTS if each.is_advertised]
    return told({"defaults": {}, "overrides": {}, "endpoints": listed})


async def list_namespaces(protocol: Protocol, call: Call) -> Answer:
    """Those at the top, or those that lie in `parent`, at once below it."""
    asked = call.query.get("parent", "")
    if "%" in asked:  # some clients escape its levels once more
        asked = unquote(asked)

    def work() -> list[str]:
        names = protocol.catalog.namespaces.list()
        if not asked:
            return [name for name in names if "." not in name]
        inside = found_namespace(protocol.catalog, namespace_of(asked)) + "."
        below = [name for name in names if name.startswith(inside)]
        return [name for name in below if "." not in name.removeprefix(inside)]

    page = page_of(await on_thread(work), call.query)
    found = [levels_of(name) for name in page.items]
    return told({"namespaces": found, "next-page-token": page.next_token})


class NamespaceCreate(msgspec.Struct, frozen=True):
    namespace: list[str]
    properties: dict[str, str] = {}


async def create_namespace(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(NamespaceCreate)
    check_levels(asked.namespace)
    *inside, name = asked.namespace
    create = partial(protocol.catalog.namespaces.create, inside=inside)
    await on_thread(partial(create, name, properties=asked.properties))
    return told({"namespace": asked.namespace, "properties": asked.properties})


async def load_namespace(protocol: Protocol, call: Call) -> Answer:
    def work() -> dict[str, str]:
        name = found_namespace(protocol.catalog, call.namespace)
        return protocol.catalog.namespaces.properties(name)

    return told({"namespace": levels_of(call.namespace), "properties": await on_thread(work)})


async def drop_namespace(protocol: Protocol, call: Call) -> Answer:
    def work() -> None:
        protocol.catalog.namespaces.drop(found_namespace(protocol.catalog, call.namespace))

    await on_thread(work)
    return Answer(204)


class PropertiesChange(msgspec.Struct, frozen=True):
    removals: list[str] = []
    updates: dict[str, str] = {}


async def change_properties(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(PropertiesChange)
    if both := sorted(asked.updates.keys() & set(asked.removals)):
        raise SetAndRemovedError(both)

    def work() -> Answer:
        name = found_namespace(protocol.catalog, call.namespace)
        change = protocol.catalog.namespaces.change_properties
        return told(change(name, asked.updates, asked.removals)._asdict())

    return await on_thread(work)


async def has_namespace(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(found_namespace, protocol.catalog, call.namespace))
    return Answer(204)


async def list_tables(protocol: Protocol, call: Call) -> Answer:
    def work() -> list[str]:
        namespace = found_namespace(protocol.catalog, call.namespace)
        return [each.name for each in protocol.catalog.names() if each.namespace == namespace]

    page = page_of(await on_thread(work), call.query)
    namespace = levels_of(call.namespace)
    return told(
        {
            "identifiers": [{"namespace": namespace, "name": name} for name in page.items],
            "next-page-token": page.next_token,
        }
    )


async def load_table(protocol: Protocol, call: Call) -> Answer:
    """The metadata of a table, byte by byte as it lies there: fields that we do not know too."""
    asked = call.query.get("snapshots", ALL)
    if asked not in (ALL, REFERENCED):
        raise InvalidInputError(f"snapshots is {ALL!r} or {REFERENCED!r}, not {asked[:40]!r}")

    def work() -> Answer:
        table = found_table(protocol.catalog, call)
        tag = etag(table, asked)
        if tag in listed(call.headers.get("if-none-match", "")):
            return Answer(304, headers={"ETag": tag})
        return loaded(protocol, table, asked)

    return await on_thread(work)


def loaded(protocol: Protocol, table: LoadedTable, snapshots: str) -> Answer:
    """Return the answer that a table is. Blocks."""
    parts = {"location": table.location, "config": protocol.storage}
    metadata = metadata_of(protocol.store, table, snapshots)
    return Answer(200, spliced(parts, metadata), {"ETag": etag(table, snapshots)})


async def has_table(protocol: Protocol, call: Call) -> Answer:
    await on_thread(partial(found_table, protocol.catalog, call))
    return Answer(204)


async def drop_table(protocol: Protocol, call: Call) -> Answer:
    """Take a table out of the catalog; with `purgeRequested` its files go, too."""
    purges = call.query.get("purgeRequested", "").lower() == "true"

    def work() -> None:
        name = found_table(protocol.catalog, call).name
        (protocol.catalog.purge if purges else protocol.catalog.drop)(name)

    await on_thread(work)
    return Answer(204)


class Identifier(msgspec.Struct, frozen=True):
    namespace: list[str]
    name: str


class TableRename(msgspec.Struct, frozen=True):
    source: Identifier
    destination: Identifier


async def rename_table(protocol: Protocol, call: Call) -> Answer:
    asked = call.body(TableRename)
    source = TableName(check_levels(asked.source.namespace), asked.source.name)
    to = TableName(check_levels(asked.destination.namespace), asked.destination.name)

    def work() -> None:
        try:
            protocol.catalog.rename(source, to)
        except TableNotFoundError:
            raise NoSuchTableError(str(source)) from None
        except TableExistsError:
            raise RenameTakenError(str(source), str(to)) from None

    await on_thread(work)
    return Answer(204)


class TableRegister(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    metadata_location: str


async def register_table(protocol: Protocol, call: Call) -> Answer:
    """Take over a table that lies in the warehouse: looked at whole before, down to its footers."""
    asked = call.body(TableRegister)

    def work() -> LoadedTable:
        namespace = found_namespace(protocol.catalog, call.namespace)
        try:
            key = protocol.store.key(asked.metadata_location)
        except ValueError:
            raise InvalidInputError("the metadata file lies outside of the warehouse") from None
        name = TableName(namespace, asked.name)
        protocol.catalog.adopting.adopt(name, Adopt(metadata=key))
        return protocol.catalog.load(name)

    table = await on_thread(work)
    return await on_thread(partial(loaded, protocol, table, ALL))


async def report_metrics(protocol: Protocol, call: Call) -> Answer:
    """What a scan of an engine cost, which nobody here keeps."""
    await on_thread(partial(found_table, protocol.catalog, call))
    return Answer(204)


def found_namespace(catalog: Catalog, name: str) -> str:
    """Return the name of a namespace as it was made. Blocks.

    Raises:
        NoSuchNamespaceError: there is none, for this caller.
    """
    try:
        found = catalog.namespaces.get(name)
    except NamespaceNotFoundError:
        raise NoSuchNamespaceError(name) from None
    if found != name:  # the protocol's names differ by case
        raise NoSuchNamespaceError(name)
    return found


def found_table(catalog: Catalog, call: Call) -> LoadedTable:
    """Return a table. Blocks.

    Raises:
        NoSuchTableError: there is none, for this caller.
    """
    name = call.table
    try:
        return catalog.load(name)
    except TableNotFoundError:
        raise NoSuchTableError(str(name)) from None


def etag(table: LoadedTable, snapshots: str) -> str:
    """Return what changes with each commit: metadata files are never written twice."""
    digest = hashlib.sha256(f"{snapshots} {table.location}".encode()).hexdigest()[:32]
    return f'"{digest}"'


def listed(header: str) -> Sequence[str]:
    """Return the tags of `If-None-Match`; a weak one of ours is as good."""
    return [each.strip().removeprefix("W/") for each in header.split(",")]


def metadata_of(store: Store, table: LoadedTable, snapshots: str) -> bytes:
    if snapshots == ALL:
        return store.read(store.key(table.location))
    named = {each["snapshot-id"] for each in table.metadata["refs"].values()}
    kept = [each for each in table.metadata["snapshots"] if each["snapshot-id"] in named]
    return orjson.dumps({**table.metadata, "snapshots": kept})


def spliced(parts: Mapping[str, Any], metadata: bytes) -> bytes:
    """Return the answer around metadata that is JSON already."""
    location, config = orjson.dumps(parts["location"]), orjson.dumps(dict(parts["config"]))
    return b'{"metadata-location":%b,"config":%b,"metadata":%b}' % (location, config, metadata)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path, what a caller must be allowed, and what is done."""

    method: str
    template: str
    action: Action
    handler: Handler
    is_advertised: bool = True

    def match(self, method: str, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Return the names in a path of this endpoint; None for another path."""
        wanted = self.template.strip("/").split("/")[2:]  # behind /v1/{prefix}: there is none
        if method != self.method or len(wanted) != len(segments) - 1 or segments[0] != "v1":
            return None
        names: dict[str, str] = {}
        for part, given in zip(wanted, segments[1:], strict=True):
            if part.startswith("{"):
                names[part[1:-1]] = given
            elif part != given:
                return None
        return names


NAMESPACE = "/v1/{prefix}/namespaces/{namespace}"
TABLE = f"{NAMESPACE}/tables/{{table}}"
ENDPOINTS = (
    Endpoint("GET", "/v1/{prefix}/config", "read", config, is_advertised=False),
    Endpoint("GET", "/v1/{prefix}/namespaces", "read", list_namespaces),
    Endpoint("POST", "/v1/{prefix}/namespaces", "write", create_namespace),
    Endpoint("GET", NAMESPACE, "read", load_namespace),
    Endpoint("HEAD", NAMESPACE, "read", has_namespace),
    Endpoint("DELETE", NAMESPACE, "write", drop_namespace),
    Endpoint("POST", f"{NAMESPACE}/properties", "write", change_properties),
    Endpoint("GET", f"{NAMESPACE}/tables", "read", list_tables),
    Endpoint("GET", TABLE, "read", load_table),
    Endpoint("HEAD", TABLE, "read", has_table),
    Endpoint("DELETE", TABLE, "write", drop_table),
    Endpoint("POST", "/v1/{prefix}/tables/rename", "write", rename_table),
    Endpoint("POST", f"{NAMESPACE}/register", "write", register_table),
    Endpoint("POST", f"{TABLE}/metrics", "read", report_metrics),
)
