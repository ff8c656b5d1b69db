"""Rows that another engine deletes while we change a table stay deleted."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.catalog import layout, row_changes
from lakehouse.catalog.errors import InputsGoneError
from lakehouse.catalog.outside import Commit
from tests.catalog.lake import Lake, main, rows_of
from tests.catalog.test_adopting import (  # noqa: F401 - the fixture of their catalog
    adopt,
    made,
    plant_deletes,
    theirs,
)
from tests.catalog.test_layout import compact

Work = Callable[[Lake], Any]
CHANGES: dict[str, tuple[Work, list[tuple[int, str]]]] = {
    "delete": (
        lambda lake: lake.catalog.rows.delete(lake.cursor, main("t"), "id = 3"),
        [(1, "a")],
    ),
    "update": (
        lambda lake: lake.catalog.rows.update(lake.cursor, main("t"), {"name": "'x'"}, "id = 3"),
        [(1, "a"), (3, "x")],
    ),
    "upsert": (
        lambda lake: lake.catalog.rows.merge(
            lake.cursor, main("t"), rows_of("SELECT 3 AS id, 'x' AS name"), ["id"]
        ),
        [(1, "a"), (3, "x")],
    ),
    "upsert of the row itself": (
        lambda lake: lake.catalog.rows.merge(
            lake.cursor, main("t"), rows_of("SELECT 2 AS id, 'x' AS name"), ["id"]
        ),
        [(1, "a"), (2, "x"), (3, "c")],
    ),
}


@pytest.fixture
def table(lake: Lake) -> Lake:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    lake.write("t", "SELECT * FROM (VALUES (2, 'b'), (3, 'c')) v(id, name)", mode="append")
    return lake


def their_delete(lake: Lake, table: str, *, snapshot_id: int = 77, position: int = 0) -> None:
    """Commit a file of deletes as another engine does: by the protocol, beside our locks."""
    with lake.pyiceberg(table) as seen:
        key = plant_deletes(lake, seen, snapshot_id=snapshot_id, position=position)
    snapshot = json.loads(lake.store.read(key))["snapshots"][-1]
    snapshot["summary"] = {"operation": "delete"}
    to = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}
    updates = [
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", **to},
    ]
    lake.catalog.outside.commit([Commit(main(table), [], updates)])


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, point: str, work: Callable[[], None]
) -> list[Callable[[], None]]:
    """Have `work` be done once, when `point` is reached; what is returned is empty then."""
    todo = [work]

    def reach(name: str) -> None:
        if name == point and todo:
            todo.pop()()

    monkeypatch.setattr(module, "reach", reach)
    return todo


@pytest.mark.parametrize("what", CHANGES)
def test_a_row_deleted_during_our_change_of_its_file_stays_deleted(
    table: Lake, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    change, after = CHANGES[what]
    todo = meanwhile(monkeypatch, row_changes, "after-data-file", lambda: their_delete(table, "t"))
    change(table)
    assert not todo
    assert table.rows("t") == after


def test_a_row_deleted_while_other_deletes_are_folded_stays_deleted(
    lake: Lake,
    theirs: SqlCatalog,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adopt(lake, "people", metadata=plant_deletes(lake, made(theirs)))
    assert lake.rows("people") == [(1, "n1"), (3, "n3")]
    meanwhile(
        monkeypatch,
        row_changes,
        "after-data-file",
        lambda: their_delete(lake, "people", snapshot_id=78, position=1),
    )
    with pytest.raises(InputsGoneError):
        lake.catalog.rows.fold(lake.cursor, main("people"))
    assert lake.rows("people") == [(1, "n1")]


def test_a_row_deleted_while_files_are_compacted_stays_deleted(
    table: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10, 15):
        table.write("t", f"SELECT {number} AS id, 'n' AS name", mode="append")
    meanwhile(monkeypatch, layout, "after-rewrite", lambda: their_delete(table, "t"))
    with pytest.raises(InputsGoneError):
        compact(table)
    assert [row[0] for row in table.rows("t")] == [1, 10, 11, 12, 13, 14, 3]
