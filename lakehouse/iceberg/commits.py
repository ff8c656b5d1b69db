"""Tables made and changed by the protocol: one, or several at once."""

from typing import Any, TypeAlias

import msgspec

from lakehouse.catalog import Commit, NewTable
from lakehouse.iceberg.calls import Answer, Call
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.loaded import loaded, spliced
from lakehouse.iceberg.protocol import Protocol
from lakehouse.iceberg.tables import Identifier
from lakehouse.names import TableName

Json: TypeAlias = dict[str, Any]


class TableCreate(msgspec.Struct, frozen=True, rename="kebab"):
    name: str
    schema: Json
    location: str | None = None
    partition_spec: Json | None = None
    write_order: Json | None = None
    stage_create: bool = False
    properties: dict[str, str] | None = None


async def create_table(protocol: Protocol, call: Call) -> Answer:
    """An empty table; or, with `stage-create`, what it would begin with: a commit makes it then."""
    asked = call.body(TableCreate)

    def work() -> Answer:
        new = NewTable(
            TableName(protocol.namespace(call.namespace), asked.name),
            asked.schema,
            asked.partition_spec,
            asked.write_order,
            asked.location,
            asked.properties or {},
        )
        if asked.stage_create:
            staged = protocol.catalog.outside.stage(new)
            return Answer(200, spliced(None, protocol.storage, msgspec.json.encode(staged)))
        made = protocol.catalog.outside.create(new, call.once(Kept.of_table))
        return loaded(protocol, made)

    return await protocol.write(work)


class TableCommit(msgspec.Struct, frozen=True):
    requirements: list[Json]
    updates: list[Json]


async def commit_table(protocol: Protocol, call: Call) -> Answer:
    """All updates of a table or none, and its metadata as it is then."""
    asked = call.body(TableCommit)

    def work() -> Answer:
        commit = Commit(protocol.spelled(call.table), asked.requirements, asked.updates)
        keep = call.once(lambda tables: Kept.of_table(tables[0]))
        (done,) = protocol.catalog.outside.commit([commit], keep)
        return loaded(protocol, done)

    return await protocol.write(work)


class Changed(msgspec.Struct, frozen=True):
    identifier: Identifier
    requirements: list[Json]
    updates: list[Json]


class Transaction(msgspec.Struct, frozen=True, rename="kebab"):
    table_changes: list[Changed]


async def commit_transaction(protocol: Protocol, call: Call) -> Answer:
    """All updates of several tables or none."""
    asked = call.body(Transaction)

    def work() -> None:
        commits = []
        for each in asked.table_changes:
            named = protocol.spelled(each.identifier.named)
            commits.append(Commit(named, each.requirements, each.updates))
        protocol.catalog.outside.commit(commits, call.once(lambda tables: Kept()))

    await protocol.write(work)
    return Answer(204)
