"""A table whose metadata file goes while it is read: it is read where it is by then."""

from pathlib import Path

import orjson
import pytest

from lakehouse.app import Lakehouse
from lakehouse.catalog import (
    Column,
    Commit,
    IdempotencyInFlightError,
    NewTable,
    TableDamagedError,
    TableName,
)
from lakehouse.catalog.errors import TableKnownError
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import PropertiesChange
from lakehouse.catalog.tables import Pointer
from lakehouse.iceberg.mount import answered
from lakehouse.iceberg.problems import shaped
from lakehouse.iceberg.tables import current

NAME = TableName("main", "moving")


def remove(location: str) -> None:
    Path(location.removeprefix("file://")).unlink()


async def test_a_table_that_moved_on_meanwhile_is_read_as_it_is_now(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = lake.catalog
    catalog.create_table(NAME, [Column("id", "long")])
    before = catalog.load(NAME)
    catalog.properties.change(NAME, PropertiesChange(set={"user.comment": "later"}))
    now = catalog.load(NAME)
    remove(before.location)
    found = iter([before, now])
    monkeypatch.setattr(catalog, "load", lambda name: next(found))
    answer = current(lake.iceberg, NAME, "all", [])
    assert orjson.loads(answer.body)["metadata-location"] == now.location


async def test_a_request_whose_first_one_still_runs_is_to_be_sent_again(lake: Lakehouse) -> None:
    """Of 409 engines commit anew, and the rows of both requests would be there."""
    path, key = b"/iceberg/v1/namespaces", {"idempotency-key": "k"}
    with lake.catalog.keys.in_flight("k"), pytest.raises(IdempotencyInFlightError) as caught:
        await answered(lake.iceberg, "POST", path, {}, key, b"{}")
    status, headers, body = shaped("/iceberg/v1/namespaces", caught.value)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert orjson.loads(body)["error"]["type"] == "ServiceUnavailableException"


async def test_one_whose_file_is_gone_is_damaged(lake: Lakehouse) -> None:
    name = TableName("main", "gone")
    lake.catalog.create_table(name, [Column("id", "long")])
    remove(lake.catalog.load(name).location)
    with pytest.raises(TableDamagedError):
        current(lake.iceberg, name, "all", [])


async def test_a_staged_table_is_made_without_a_look_at_every_other_one(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = lake.catalog.outside
    for number in range(3):
        lake.catalog.create_table(TableName("main", f"t{number}"), [Column("id", "long")])
    schema = {
        "type": "struct",
        "fields": [{"id": 1, "name": "id", "type": "long", "required": False}],
    }
    staged = outside.stage(NewTable(TableName("main", "made"), schema))
    looked: list[str] = []
    metadata = lake.catalog._tables.metadata

    def reading(pointer: Pointer) -> Json:
        looked.append(pointer.name.name)
        return metadata(pointer)

    monkeypatch.setattr(lake.catalog._tables, "metadata", reading)

    def making(name: str) -> Commit:
        updates: list[Json] = [
            {"action": "assign-uuid", "uuid": staged["table-uuid"]},
            {"action": "add-schema", "schema": staged["schemas"][0]},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": staged["partition-specs"][0]},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": staged["sort-orders"][0]},
            {"action": "set-default-sort-order", "sort-order-id": -1},
        ]
        return Commit(TableName("main", name), [{"type": "assert-create"}], updates)

    outside.commit([making("made")])
    assert not set(looked) & {"t0", "t1", "t2"}
    with pytest.raises(TableKnownError):
        outside.commit([making("again")])
