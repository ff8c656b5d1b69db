"""Deletes of another engine folded into a table: nothing is lost or undone meanwhile."""

from contextlib import nullcontext

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.catalog import row_changes
from lakehouse.catalog.errors import InputsGoneError
from lakehouse.catalog.manifests import has_deletes
from lakehouse.catalog.models import RefPut
from tests.catalog.lake import Lake, main
from tests.catalog.test_adopting import (  # noqa: F401 - the fixture of their catalog
    COLUMNS,
    adopt,
    made,
    plant_deletes,
    theirs,
)

APPENDED = "SELECT 10 AS id, 'n10' AS \"the name\""


def folded(lake: Lake) -> None:
    lake.catalog.rows.fold(lake.cursor, main("people"))


def deletes(lake: Lake) -> bool:
    location = lake.store.uri(lake.manifest_list("people"))
    return has_deletes(lake.catalog._manifests.read_list(location))


@pytest.fixture
def people(lake: Lake, theirs: SqlCatalog) -> Lake:  # noqa: F811
    adopt(lake, "people", metadata=plant_deletes(lake, made(theirs)))
    assert deletes(lake)
    return lake


def meanwhile(monkeypatch: pytest.MonkeyPatch, work: object) -> None:
    """Have `work` be done once, after the files were written and before they are committed."""
    todo = [work]

    def reach(name: str) -> None:
        if name == "after-data-file" and todo:
            todo.pop()()  # type: ignore[operator]

    monkeypatch.setattr(row_changes, "reach", reach)


def test_the_rows_are_the_same_and_a_tag_keeps_what_it_names(people: Lake) -> None:
    before = people.rows("people")
    people.catalog.refs.put(main("people"), "then", RefPut(type="tag"))
    tagged = people.metadata("people")["refs"]["then"]["snapshot-id"]
    folded(people)
    assert not deletes(people)
    assert people.rows("people") == before == [(1, "n1"), (3, "n3")]
    assert people.rows("people", "then") == before
    assert people.metadata("people")["refs"]["then"]["snapshot-id"] == tagged
    assert people.catalog.get(main("people")).row_count == 2


def test_an_append_meanwhile_stays(people: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: people.write("people", APPENDED, COLUMNS, mode="append"))
    folded(people)
    assert not deletes(people)
    assert people.rows("people") == [(1, "n1"), (10, "n10"), (3, "n3")]


def test_a_delete_meanwhile_ends_the_work(people: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete() -> None:
        monkeypatch.undo()
        people.catalog.rows.delete(people.cursor, main("people"), "id = 3")

    files = people.tree()
    meanwhile(monkeypatch, delete)
    # The lock of who rewrites is another process' here: its delete must not be waited for.
    monkeypatch.setattr(people.catalog._tables, "rewriting", lambda name: nullcontext())
    with pytest.raises(InputsGoneError):
        folded(people)
    assert people.rows("people") == [(1, "n1")]
    assert files < people.tree()
