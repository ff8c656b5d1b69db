"""A table in plain Python: what a catalog must say after any sequence of changes.

Rows hold their values by column id, as the files of Iceberg do, so a column that is renamed keeps
them and one that comes back under an old name begins empty.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import strategies as st

from lakehouse.catalog import duckdb_type
from lakehouse.database import literal, quoted

Row = dict[int, Any]

WORDS = ("", "a", "b", "Ü", "it's", "ab")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-3, 6),
    "long": st.integers(-3, 6) | st.just(1 << 40),
    "float": st.sampled_from([-1.5, 0.0, 0.25, 3.0]),
    "double": st.sampled_from([-1.5, 0.0, 0.25, 3.0, 1e300]),
    "decimal(9,2)": st.decimals(-3, 3, places=2, allow_nan=False),
    "decimal(20,2)": st.decimals(-3, 3, places=2, allow_nan=False),
    "string": st.sampled_from(WORDS),
    "date": st.dates(),
}
WIDER = {"int": "long", "float": "double", "decimal(9,2)": "decimal(20,2)"}
NO_KEY = ("float", "double")


@dataclass(frozen=True)
class Col:
    id: int
    name: str
    type: str

    @property
    def sql(self) -> str:
        return quoted(self.name)


@dataclass(frozen=True)
class Shown:
    """What a snapshot shows."""

    columns: tuple[Col, ...]
    rows: tuple[Row, ...]

    def tuples(self) -> list[tuple[Any, ...]]:
        return sorted((tuple(r.get(c.id) for c in self.columns) for r in self.rows), key=repr)


@dataclass
class Model:
    columns: tuple[Col, ...]
    last_id: int
    rows: tuple[Row, ...] = ()
    current: int | None = None
    snapshots: dict[int, Shown] = field(default_factory=dict)
    refs: dict[str, int] = field(default_factory=dict)
    """Tags and branches without `main`."""

    @property
    def now(self) -> Shown:
        return Shown(self.columns, self.rows)

    @property
    def keys(self) -> list[Col]:
        """The columns that rows can be told apart by."""
        return [each for each in self.columns if each.type not in NO_KEY]

    def add(self, name: str, type_: str, *, is_first: bool = False) -> Col:
        self.last_id += 1
        added = Col(self.last_id, name, type_)
        self.columns = (added, *self.columns) if is_first else (*self.columns, added)
        return added

    def with_column(self, changed: Col) -> tuple[Col, ...]:
        return tuple(changed if each.id == changed.id else each for each in self.columns)

    def committed(self, snapshot_id: int) -> None:
        self.snapshots[snapshot_id] = self.now
        self.current = snapshot_id

    def upsert(self, given: Sequence[Row], key: Sequence[Col]) -> tuple[int, int]:
        """Return how many were inserted and updated."""
        last = {key_of(row, key): row for row in given}
        there: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            there.setdefault(key_of(row, key), []).append(row)
        inserted = sum(k not in there for k in last)
        updated = sum(
            k in there and [self._shown(row) for row in there[k]] != [self._shown(new)]
            for k, new in last.items()
        )
        stay = (row for row in self.rows if key_of(row, key) not in last)
        self.rows = (*stay, *last.values())
        return inserted, updated

    def _shown(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(each.id) for each in self.columns)

    def without(self, where: "Condition") -> int:
        """Delete, and return how many rows went."""
        stay = tuple(row for row in self.rows if not where.holds(row))
        gone = len(self.rows) - len(stay)
        self.rows = stay
        return gone

    def holding(self, where: "Condition") -> set[int]:
        """Return the snapshots with such a row, of whatever columns they show."""
        return {
            snapshot_id
            for snapshot_id, shown in self.snapshots.items()
            if any(map(where.holds, shown.rows))
        }

    def update(self, set_: "Setting", where: "Condition") -> int:
        """Update, and return how many rows are other rows now."""
        before, column = self.rows, set_.column.id
        self.rows = tuple(
            {**row, column: set_.new(row)} if where.holds(row) else row for row in before
        )
        pairs = zip(before, self.rows, strict=True)
        return sum(not is_same(old.get(column), new.get(column)) for old, new in pairs)


def is_same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # what is no number is the same one


def key_of(row: Row, key: Sequence[Col]) -> tuple[Any, ...]:
    return tuple(row.get(each.id) for each in key)


@dataclass(frozen=True)
class Condition:
    """A condition in SQL, and in Python."""

    sql: str
    test: Callable[[Row], bool | None]
    """None where SQL says NULL."""

    def holds(self, row: Row) -> bool:
        return self.test(row) is True


@dataclass(frozen=True)
class Setting:
    column: Col
    sql: str
    new: Callable[[Row], Any]


def conditions(now: Shown) -> st.SearchStrategy[Condition]:
    """Conditions over the columns of a table, most of them true of some of its rows."""
    one = st.sampled_from(now.columns).flatmap(partial(conditions_on, now))
    return st.recursive(
        one,
        lambda some: some.map(negated) | st.tuples(some, some).map(either),
        max_leaves=2,
    )


def conditions_on(now: Shown, column: Col) -> st.SearchStrategy[Condition]:
    def equal(value: Any) -> Condition:
        def test(row: Row) -> bool | None:
            found = row.get(column.id)
            return None if found is None else bool(found == value)

        return Condition(f"{column.sql} = {cast(column, value)}", test)

    def less(value: Any) -> Condition:
        def test(row: Row) -> bool | None:
            found = row.get(column.id)
            return None if found is None else bool(found < value)

        return Condition(f"{column.sql} < {cast(column, value)}", test)

    there = [row[column.id] for row in now.rows if row.get(column.id) is not None]
    values = st.sampled_from(there) if there else VALUES[column.type]
    empty = Condition(f"{column.sql} IS NULL", lambda row: row.get(column.id) is None)
    return values.map(equal) | values.map(less) | st.just(empty)


def negated(one: Condition) -> Condition:
    def test(row: Row) -> bool | None:
        found = one.test(row)
        return None if found is None else not found

    return Condition(f"NOT ({one.sql})", test)


def either(both: tuple[Condition, Condition]) -> Condition:
    def test(row: Row) -> bool | None:
        found = [each.test(row) for each in both]
        return True if True in found else None if None in found else False

    return Condition(f"({both[0].sql}) OR ({both[1].sql})", test)


def settings_of(columns: Sequence[Col]) -> st.SearchStrategy[Setting]:
    def on(column: Col) -> st.SearchStrategy[Setting]:
        const = (VALUES[column.type] | st.none()).map(
            lambda value: Setting(column, cast(column, value), lambda row: value)
        )
        alike = [each for each in columns if each.type == column.type]
        other = st.sampled_from(alike).map(
            lambda each: Setting(column, each.sql, lambda row: row.get(each.id))
        )
        return const | other

    return st.sampled_from(columns).flatmap(on)


def rows_of(
    columns: Sequence[Col], filled: Iterable[Col] = (), least: int = 1
) -> st.SearchStrategy[list[Row]]:
    """Rows of a load; the columns `filled` have a value in each."""
    full = {each.id for each in filled}
    row = st.fixed_dictionaries(
        {
            each.id: VALUES[each.type] if each.id in full else VALUES[each.type] | st.none()
            for each in columns
        }
    )
    return st.lists(row, min_size=least, max_size=6)


def select(columns: Sequence[Col], rows: Sequence[Row]) -> str:
    """Return the SELECT of these rows, in their order."""
    if not rows:
        return f"{select(columns, [{}])} WHERE false"
    return " UNION ALL ".join(
        "SELECT " + ", ".join(f"{cast(each, row.get(each.id))} AS {each.sql}" for each in columns)
        for row in rows
    )


def cast(column: Col, value: Any) -> str:
    text = "NULL" if value is None else literal(str(value))
    return f"CAST({text} AS {duckdb_type(column.type)})"
