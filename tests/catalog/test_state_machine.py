"""Any sequence of changes and kills leaves what a model in plain Python says, at every snapshot.

`just soak 500` looks at that many sequences, longer ones and other ones each time.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pyiceberg.table import StaticTable

from lakehouse.catalog.errors import ErasureRefusedError, NullKeyError
from lakehouse.catalog.metadata import spec_of
from lakehouse.catalog.models import RefPut
from lakehouse.catalog.rules import rules_of
from lakehouse.catalog.schema_models import Add, AnyChange, Drop, Move, Rename, Widen
from lakehouse.config import MaintenanceConfig
from lakehouse.database import Database
from tests.catalog.evolved import evolve, scanned
from tests.catalog.killed import POINTS, Change, has_happened
from tests.catalog.lake import Lake, main, open_lake
from tests.catalog.lake import rows_of as load_of
from tests.catalog.model import (
    VALUES,
    WIDER,
    Col,
    Model,
    Row,
    conditions,
    rows_of,
    select,
    settings_of,
)

SOAK = int(os.environ.get("LAKEHOUSE_SOAK", "0"))
FIRST = (Col(1, "id", "int"), Col(2, "name", "string"), Col(3, "cost", "decimal(9,2)"))
LAYOUTS: tuple[tuple[list[str], list[str]], ...] = (
    ([], []),
    ([], ["id desc"]),
    (["bucket(3, id)"], []),
    (["name"], ["id"]),
    (["truncate(1, name)"], []),
)
NAMES = ("name", "cost", "more", "Ärger", 'qu"ote', "x")
REFS = ("first", "second", "third")

Data = st.DataObject


class Table(RuleBasedStateMachine):
    """One table `t`, changed by rules and compared after each."""

    def __init__(self, lake: Lake) -> None:
        super().__init__()
        self.lake = lake
        self.model = Model(FIRST, last_id=3)
        self.laid_out: set[int] = set()
        """Columns that the layout uses: they stay."""

    # Rows.

    @initialize(data=st.data(), layout=st.sampled_from(LAYOUTS))
    def create(self, data: Data, layout: tuple[list[str], list[str]]) -> None:
        partition_by, sort_by = layout
        used = " ".join(partition_by + sort_by)
        self.laid_out = {each.id for each in FIRST if each.name in used}
        self.model.rows = tuple(data.draw(rows_of(FIRST)))
        self.write("create", self.model.rows, partition_by=partition_by, sort_by=sort_by)
        self.is_committed()

    @rule(data=st.data(), evolve=st.booleans())
    def append(self, data: Data, evolve: bool) -> None:
        """Rows come in, at times with a column that the table does not have yet."""
        if evolve:
            self.model.add(self.free_name(data), data.draw(types()))
        given = data.draw(rows_of(self.model.columns))
        self.model.rows += tuple(given)
        self.write("append", given, evolve=evolve)
        self.is_committed()

    @rule(data=st.data())
    def overwrite(self, data: Data) -> None:
        self.model.rows = tuple(data.draw(rows_of(self.model.columns)))
        self.write("overwrite", self.model.rows)
        self.is_committed()

    @precondition(lambda self: self.model.keys)
    @rule(data=st.data())
    def upsert(self, data: Data) -> None:
        key = data.draw(keys(self.model))
        given = data.draw(rows_of(self.model.columns, filled=key))
        self.is_refused([*given, {**given[0], key[0].id: None}], key)
        inserted, updated = self.model.upsert(given, key)
        changed = self.merge(given, key)
        assert (changed.rows.inserted, changed.rows.updated) == (inserted, updated)
        self.is_committed(when=bool(inserted or updated))
        assert self.merge(given, key).rows.is_nothing, "the same load again changes nothing"

    def is_refused(self, rows: Sequence[Row], key: Sequence[Col]) -> None:
        before = self.lake.tree()
        with pytest.raises(NullKeyError):
            self.merge(rows, key)
        assert self.lake.tree() == before

    @rule(data=st.data())
    def delete(self, data: Data) -> None:
        where = data.draw(conditions(self.model.now))
        note(f"WHERE {where.sql}")
        gone = self.model.without(where)
        changed = self.lake.catalog.rows.delete(self.lake.cursor, main("t"), where.sql)
        assert changed.rows.deleted == gone
        self.is_committed(when=bool(gone))

    @rule(data=st.data())
    def update(self, data: Data) -> None:
        where = data.draw(conditions(self.model.now))
        set_ = data.draw(settings_of(self.model.columns))
        note(f"SET {set_.column.name} = {set_.sql} WHERE {where.sql}")
        count = self.model.update(set_, where)
        changed = self.lake.catalog.rows.update(
            self.lake.cursor, main("t"), {set_.column.name: set_.sql}, where.sql
        )
        assert changed.rows.updated == count
        self.is_committed(when=bool(count))

    # Columns.

    @rule(data=st.data(), is_first=st.booleans())
    def add_a_column(self, data: Data, is_first: bool) -> None:
        added = self.model.add(self.free_name(data), data.draw(types()), is_first=is_first)
        self.evolve(Add(dotted(added.name), added.type, first=is_first))

    @rule(data=st.data())
    def change_a_column(self, data: Data) -> None:
        old = data.draw(st.sampled_from(self.model.columns))
        others = tuple(each for each in self.model.columns if each != old)
        path, name = dotted(old.name), self.free_name(data)
        possible: list[tuple[AnyChange, tuple[Col, ...]]] = [
            (Move(path, first=True), (old, *others)),
            (Rename(path, name), self.model.with_column(replace(old, name=name))),
        ]
        if others and old.id not in self.laid_out:
            possible.append((Drop(path), others))
        if wider := WIDER.get(old.type):
            possible.append((Widen(path, wider), self.model.with_column(replace(old, type=wider))))
        change, self.model.columns = data.draw(st.sampled_from(possible))
        self.evolve(change)

    # Snapshots.

    @rule(data=st.data(), ref=st.sampled_from(REFS))
    def tag_or_untag(self, data: Data, ref: str) -> None:
        if ref in self.model.refs and data.draw(st.booleans()):
            del self.model.refs[ref]
            self.lake.catalog.refs.delete(main("t"), ref)
            return
        target = data.draw(st.sampled_from(list(self.model.snapshots)))
        self.model.refs[ref] = target
        self.lake.catalog.refs.put(main("t"), ref, RefPut("tag", target, move=True))

    @rule(data=st.data())
    def roll_back(self, data: Data) -> None:
        metadata = self.lake.metadata("t")
        logged = {each["snapshot-id"] for each in metadata["snapshot-log"]}
        was_main = [each for each in self.model.snapshots if each in logged]
        target = data.draw(st.sampled_from(was_main))
        self.lake.catalog.refs.rollback(main("t"), target)
        self.model.rows = self.model.snapshots[target].rows
        self.model.current = target

    @rule(data=st.data())
    def expire(self, data: Data) -> None:
        ids = data.draw(st.sets(st.sampled_from(list(self.model.snapshots))))
        kept = {self.model.current, *self.model.refs.values()}
        count = self.lake.catalog.expiry.expire(main("t"), ids)
        assert count == len(ids - kept)
        for each in ids - kept:
            del self.model.snapshots[each]
        self.lake.catalog.expiry.delete(main("t"))
        self.compare_all()

    @rule(data=st.data())
    def erase(self, data: Data) -> None:
        """Rows go from every snapshot, with the snapshots; or a tag keeps them, and nothing goes.

        Where partitions are values, a snapshot that only names a file that left goes too.
        """
        where = data.draw(conditions(self.model.now))
        note(f"ERASE WHERE {where.sql}")
        held, tagged = self.model.holding(where), set(self.model.refs.values())
        is_partitioned = any(e["fields"] for e in self.lake.metadata("t")["partition-specs"])
        tree = self.lake.tree()
        try:
            erased = self.lake.catalog.erasing.erase(self.lake.cursor, main("t"), where.sql)
        except ErasureRefusedError:
            assert held & tagged or (is_partitioned and tagged)
            assert self.lake.tree() == tree
            return
        assert not held & tagged
        gone = self.model.without(where)
        assert erased.rows.deleted == gone
        before, now = set(self.model.snapshots), self.lake.snapshot_ids("t")
        lost, new = before - now, now - before
        assert len(new) == 1 if gone else len(new) <= 1
        assert held == lost or (is_partitioned and held < lost)
        for each in lost:
            del self.model.snapshots[each]
        for each in new:
            self.model.committed(each)
        assert not self.model.holding(where)
        self.compare_all()

    # Layout.

    @rule()
    def merge_manifests(self) -> None:
        rules = rules_of(self.lake.metadata("t"), MaintenanceConfig(manifests_min=2))
        done = self.lake.catalog.layout.merge_manifests(main("t"), rules)
        self.is_committed(when=done.before > 0)

    @rule()
    def compact(self) -> None:
        rules = rules_of(self.lake.metadata("t"), MaintenanceConfig())
        done = self.lake.catalog.layout.compact(self.lake.cursor, main("t"), rules, 2)
        self.is_committed(when=done.before > 0)

    @rule(is_dropped=st.booleans())
    def open_again(self, is_dropped: bool) -> None:
        """As after a kill: what was in memory is gone. A dropped table can come back after it."""
        if is_dropped:
            self.lake.catalog.drop(main("t"))
        views = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        for (name,) in self.lake.cursor.execute(views).fetchall():
            self.lake.cursor.execute(f'DROP VIEW "{name}"')
        self.lake.catalog = self.lake.reopened()
        if is_dropped:
            assert self.lake.catalog.find(main("t")) is None
            self.lake.catalog.undrop(main("t"))

    @rule(data=st.data(), kind=st.sampled_from(sorted(POINTS)))
    def is_killed(self, data: Data, kind: str) -> None:
        """A process is killed in a change: it has happened or not, and the next start cleans up."""
        point = data.draw(st.sampled_from(POINTS[kind]))
        given = data.draw(rows_of(self.model.columns))
        where = data.draw(conditions(self.model.now))
        ids = data.draw(st.sets(st.sampled_from(list(self.model.snapshots))))
        columns = tuple((each.name, each.type) for each in self.model.columns)
        rows = select(self.model.columns, given)
        change = Change(kind, rows, columns, where.sql, tuple(ids))
        note(f"{change} is killed {point}")

        happened = has_happened(self.lake.root, change, point)

        new = self.lake.snapshot_ids("t") - set(self.model.snapshots)
        assert len(new) <= happened
        if happened and kind == "append":
            self.model.rows += tuple(given)
        if happened and kind == "delete":
            gone = self.model.without(where)
            assert len(new) == bool(gone)
        for snapshot_id in new:
            self.model.committed(snapshot_id)
        if happened and kind == "expire":
            for each in ids - {self.model.current, *self.model.refs.values()}:
                del self.model.snapshots[each]
        self.open_again(is_dropped=False)
        self.lake.catalog.expiry.delete(main("t"))
        self.lake.catalog.orphans.remove(self.lake.cursor, age_s=-60)
        self.compare_all()

    # What must hold.

    @invariant()
    def everyone_sees_the_table(self) -> None:
        expected = self.model.now.tuples()
        assert self.lake.rows("t") == expected
        assert self.by_pyiceberg() == expected
        described = self.lake.catalog.describe(main("t"))
        assert [(each.name, each.type.replace(" ", "")) for each in described.columns] == [
            (each.name, each.type) for each in self.model.columns
        ]
        assert described.row_count == len(expected)
        assert described.snapshot_id == self.model.current
        snapshots = self.lake.catalog.snapshots(main("t"))
        assert {each.snapshot_id for each in snapshots} == set(self.model.snapshots)
        refs = {each.name: each.snapshot_id for each in self.lake.catalog.refs.list(main("t"))}
        assert refs == {**self.model.refs, "main": self.model.current}

    def teardown(self) -> None:
        if self.model.snapshots:
            self.compare_all()

    def compare_all(self) -> None:
        """Every kept snapshot reads as it was, by SQL, by a scan and in PyIceberg."""
        for snapshot_id, shown in self.model.snapshots.items():
            expected = shown.tuples()
            assert self.lake.rows("t", snapshot_id) == expected, snapshot_id
            assert tuples(scanned(self.lake, "t", snapshot_id)) == expected, snapshot_id
            assert self.by_pyiceberg(snapshot_id) == expected, snapshot_id
        for ref, snapshot_id in self.model.refs.items():
            assert self.lake.rows("t", ref) == self.model.snapshots[snapshot_id].tuples()
        on_disk = {each for each in self.lake.tree() if not each.endswith(".json")}
        assert on_disk == {e for e in self.lake.reachable() if not e.endswith(".json")}

    # How it is done.

    def write(self, mode: Any, rows: Sequence[Row], **more: Any) -> None:
        columns = {each.name: each.type for each in self.model.columns}
        load = load_of(select(self.model.columns, rows), columns)
        self.lake.catalog.loading.write(self.lake.cursor, main("t"), load, mode=mode, **more)

    def merge(self, rows: Sequence[Row], key: Sequence[Col]) -> Any:
        columns = {each.name: each.type for each in self.model.columns}
        load = load_of(select(self.model.columns, rows), columns)
        names = [each.name for each in key]
        return self.lake.catalog.loading.upsert(self.lake.cursor, main("t"), load, names)

    def evolve(self, *changes: AnyChange) -> None:
        evolve(self.lake, "t", *changes)

    def is_committed(self, *, when: bool = True) -> None:
        """Look for the one snapshot that a change made, if it changed something."""
        new = self.lake.snapshot_ids("t") - set(self.model.snapshots)
        assert len(new) == (1 if when else 0)
        for snapshot_id in new:
            self.model.committed(snapshot_id)

    def free_name(self, data: Data) -> str:
        taken = {each.name.lower() for each in self.model.columns}
        # The partition of a column that was renamed keeps the name.
        taken |= {each["name"].lower() for each in spec_of(self.lake.metadata("t"))["fields"]}
        names = [each for each in NAMES if each.lower() not in taken]
        more = (f"c{number}" for number in count(1))
        return data.draw(st.sampled_from(names or [next(c for c in more if c not in taken)]))

    def by_pyiceberg(self, snapshot_id: int | None = None) -> list[tuple[Any, ...]]:
        # Without its catalog, which takes most of the time; what that finds, others test.
        table = StaticTable.from_metadata(self.lake.catalog.load(main("t")).location)
        return tuples(table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist())


def tuples(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in rows), key=repr)


def keys(model: Model) -> st.SearchStrategy[list[Col]]:
    return st.lists(st.sampled_from(model.keys), min_size=1, max_size=2, unique=True)


def types() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(VALUES))


def dotted(name: str) -> str:
    """Return a column's name as a path to it."""
    return '"' + name.replace('"', '""') + '"' if '"' in name else name


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="half a minute or more")
def test_any_sequence_of_changes_leaves_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, database: Database
) -> None:
    class Case(Table):
        def __init__(self) -> None:
            self._opened = ExitStack()
            root = tmp_path_factory.mktemp("machine")
            super().__init__(self._opened.enter_context(open_lake(root, database)))

        def teardown(self) -> None:
            with self._opened:
                super().teardown()

    run_state_machine_as_test(
        Case,
        settings=settings(
            max_examples=SOAK or 12,
            stateful_step_count=40 if SOAK else 22,
            deadline=None,
            derandomize=not SOAK,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
