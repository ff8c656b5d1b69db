"""Updates of another engine are applied once for each state that they meet."""

from typing import Any

import pytest

from lakehouse.catalog import Commit, outside, tables
from lakehouse.catalog.metadata import Json
from tests.catalog.lake import Lake, main


def with_property(name: str) -> list[Json]:
    return [{"action": "set-properties", "updates": {name: "1"}}]


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The states that updates were applied to."""
    found: list[Any] = []
    for module in (outside, tables):
        apply: Any = module.apply

        def counted(metadata: Json, updates: Any, apply: Any = apply) -> Json:
            found.append(metadata)
            after: Json = apply(metadata, updates)
            return after

        monkeypatch.setattr(module, "apply", counted)
    return found


def test_a_commit_that_nobody_comes_before_is_applied_once(lake: Lake, applied: list[Any]) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    applied.clear()
    lake.catalog.outside.commit([Commit(main("t"), [], with_property("a"))])
    assert len(applied) == 1
    assert lake.metadata("t")["properties"]["a"] == "1"


def test_a_commit_that_somebody_comes_before_is_applied_to_what_they_left(
    lake: Lake, applied: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    commit, door = lake.catalog._tables.commit, lake.catalog.outside

    def late(*arguments: Any) -> Any:
        monkeypatch.undo()
        door.commit([Commit(main("t"), [], with_property("theirs"))])
        return commit(*arguments)

    monkeypatch.setattr(lake.catalog._tables, "commit", late)
    door.commit([Commit(main("t"), [], with_property("ours"))])
    assert {"theirs", "ours"} <= lake.metadata("t")["properties"].keys()


def test_when_main_went_back_is_when_it_was_committed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    first = lake.metadata("t")["current-snapshot-id"]
    lake.write("t", "SELECT 1 AS id, 'y' AS name", mode="append")
    commit, looked_at = lake.catalog._tables.commit, []

    def late(*arguments: Any) -> Any:
        looked_at.append(tables.now_ms())
        while tables.now_ms() <= looked_at[0] + 20:
            pass
        return commit(*arguments)

    monkeypatch.setattr(lake.catalog._tables, "commit", late)
    back = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch"}
    lake.catalog.outside.commit([Commit(main("t"), [], [{**back, "snapshot-id": first}])])
    assert lake.metadata("t")["snapshot-log"][-1]["timestamp-ms"] > looked_at[0]
