"""Tables made and changed by the protocol: one, or several at once."""

from functools import partial
from typing import Annotated, Any, TypeAlias

import msgspec

from lakehouse.catalog import Commit, NewTable
from lakehouse.iceberg.calls import Answer, Call
from lakehouse.iceberg.kept import Kept
from lakehouse.iceberg.loaded import loaded, spliced
from lakehouse.iceberg.protocol import Protocol
from lakehouse.iceberg.tables import Identifier
from lakehouse.names import TableName

Json: TypeAlias = dict[str, Any]

TABLES_MAX = 1_000
"""Of a transaction: it waits for its turn at each."""
Requirements: TypeAlias = Annotated[list[Json], msgspec.Meta(max_length=5_000)]


class Called(msgspec.Struct, frozen=True):
    """What a table or a view is to be called, read before its turn; no more of it."""

    name: str


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
    called = await protocol.write(partial(call.body, Called))

    def work() -> Answer:
        asked = call.body(TableCreate)
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

    return await protocol.write(work, [TableName(call.namespace, called.name)])


class TableCommit(msgspec.Struct, frozen=True):
    requirements: Requirements
    updates: list[Json]


async def commit_table(protocol: Protocol, call: Call) -> Answer:
    """All updates of a table or none, and its metadata as it is then."""

    def work() -> Answer:
        asked = call.body(TableCommit)
        commit = Commit(protocol.spelled(call.table), asked.requirements, asked.updates)
        keep = call.once(lambda tables: Kept.of_table(tables[0]))
        (done,) = protocol.catalog.outside.commit([commit], keep)
        return loaded(protocol, done)

    return await protocol.write(work, [call.table])


class ChangedName(msgspec.Struct, frozen=True):
    identifier: Identifier


class TransactionNames(msgspec.Struct, frozen=True, rename="kebab"):
    """What a transaction changes, read before its turn at each: all else of it is let be."""

    table_changes: Annotated[list[ChangedName], msgspec.Meta(max_length=TABLES_MAX)]


class Changed(msgspec.Struct, frozen=True):
    identifier: Identifier
    requirements: Requirements
    updates: list[Json]


class Transaction(msgspec.Struct, frozen=True, rename="kebab"):
    table_changes: list[Changed]


async def commit_transaction(protocol: Protocol, call: Call) -> Answer:
    """All updates of several tables or none."""
    changed = await protocol.write(partial(call.body, TransactionNames))

    def work() -> None:
        asked = call.body(Transaction)
        commits = []
        for each in asked.table_changes:
            named = protocol.spelled(each.identifier.named)
            commits.append(Commit(named, each.requirements, each.updates))
        protocol.catalog.outside.commit(commits, call.once(lambda tables: Kept()))

    await protocol.write(work, [each.identifier.named for each in changed.table_changes])
    return Answer(204)
