"""What of a view grows without an end: its schemas, its log, and what is kept of it in memory."""

from typing import Any, TypeAlias

import orjson
import pytest

from lakehouse.catalog.errors import InvalidViewError
from lakehouse.catalog.models import TableName
from lakehouse.catalog.view_metadata import HISTORY_MAX, LOG_MAX, apply, new_metadata
from lakehouse.catalog.views import CACHED_MAX_BYTES
from tests.catalog.lake import Lake

Json: TypeAlias = dict[str, Any]


def schema(name: str) -> Json:
    return {"type": "struct", "fields": [{"id": 1, "name": name, "required": False, "type": "int"}]}


def version(sql: str) -> Json:
    return {
        "version-id": 1,
        "schema-id": -1,
        "timestamp-ms": 0,
        "summary": {},
        "representations": [{"type": "sql", "sql": sql, "dialect": "duckdb"}],
        "default-namespace": ["main"],
    }


def view() -> Json:
    first = version("SELECT 1")
    return new_metadata(
        view_uuid="u", location="l", schema=schema("a"), version=first, properties={}, now_ms=1
    )


def add_schema(name: str) -> Json:
    return {"action": "add-schema", "schema": schema(name)}


def test_schemas_of_no_version_are_forgotten_once_there_are_very_many() -> None:
    before = apply(view(), [add_schema(f"c{number}") for number in range(HISTORY_MAX - 1)], 2)
    assert len(before["schemas"]) == HISTORY_MAX
    add = {"action": "add-view-version", "view-version": version("SELECT 2")}
    after = apply(before, [add_schema("last"), add], 3)
    assert [each["schema-id"] for each in after["schemas"]] == [0, HISTORY_MAX]
    assert len(before["schemas"]) == HISTORY_MAX, "what was there is left as it was"


def test_the_log_keeps_the_newest_entries() -> None:
    add = {"action": "add-view-version", "view-version": version("SELECT 2")}
    both = apply(view(), [add_schema("b"), add], 2)
    both["version-log"] = [{"version-id": 1, "timestamp-ms": each} for each in range(LOG_MAX)]
    after = apply(both, [{"action": "set-current-view-version", "view-version-id": 2}], LOG_MAX)
    assert len(after["version-log"]) == LOG_MAX
    assert after["version-log"][0]["timestamp-ms"] == 1
    assert after["version-log"][-1] == {"version-id": 2, "timestamp-ms": LOG_MAX}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"schemas": [{**schema("a"), "schema-id": each} for each in range(1001)]}, "1,000 sch"),
        ({"schemas": [{**schema("a"), "schema-id": 0}, schema("b")]}, "no id"),
        ({"properties": {"version.history.num-entries": "1001"}}, "at most"),
    ],
)
def test_a_file_is_not_taken_that_none_of_ours_becomes(lake: Lake, changed: Json, why: str) -> None:
    lake.store.create("given/v.metadata.json", orjson.dumps({**view(), **changed}))
    with pytest.raises(InvalidViewError, match=why):
        lake.catalog.views.register(
            TableName("main", "given"), lake.store.uri("given/v.metadata.json")
        )


def test_views_are_kept_in_memory_by_what_their_files_weigh(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    from_store = type(lake.store).read

    def counted(store: Any, key: str) -> bytes:
        read.append(key)
        return from_store(store, key)

    monkeypatch.setattr(type(lake.store), "read", counted)
    views = lake.catalog.views
    for name, size in (("large", CACHED_MAX_BYTES - 10_000), ("small", 1_000), ("other", 20_000)):
        views.create(
            TableName("main", name),
            schema=schema("a"),
            version=version("SELECT 1 AS a"),
            properties={"text": "x" * size},
        )
    for name in ("small", "other", "small"):
        views.load(TableName("main", name))
    assert read == []
    views.load(TableName("main", "large"))
    assert len(read) == 1
