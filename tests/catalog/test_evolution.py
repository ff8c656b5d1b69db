"""Columns change, files do not: every reader sees what the schema of its snapshot says."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from lakehouse.catalog import Idempotency, TableNotFoundError
from lakehouse.catalog.errors import (
    SchemaChangedError,
    SchemaChangeError,
    SchemaFixedError,
    SchemaMovedError,
)
from lakehouse.catalog.fingerprint import FINGERPRINT, fingerprint
from lakehouse.catalog.manifests import NewFile
from lakehouse.catalog.metadata import NAME_MAPPING
from lakehouse.catalog.models import Column
from lakehouse.catalog.requirements import check
from lakehouse.catalog.schema_models import (
    Add,
    AnyChange,
    Drop,
    Move,
    Rename,
    SchemaEvolve,
    TableSchema,
    Widen,
)
from lakehouse.catalog.table import known_fingerprint
from lakehouse.catalog.updates import apply
from lakehouse.errors import ConflictError, InvalidInputError
from tests.catalog.evolved import Row, evolve, read, scanned
from tests.catalog.lake import Lake, main, rows_of

COLUMNS = {
    "i": "int",
    "f": "float",
    "d": "decimal(9,2)",
    "s": "string",
    "st": "struct<a: int, b: string>",
    "l": "list<struct<x: int, y: string>>",
    "m": "map<string, struct<p: float>>",
    "n": "list<int>",
}
ROW = (
    "SELECT 1::INT AS i, 1.5::FLOAT AS f, 1.25::DECIMAL(9,2) AS d, 'x' AS s, "
    "{'a': 1, 'b': 'bb'} AS st, [{'x': 1, 'y': 'yy'}] AS l, MAP {'k': {'p': 1.5::FLOAT}} AS m, "
    "[1, NULL] AS n"
)
PYTHON: Row = {
    "i": 1,
    "f": 1.5,
    "d": Decimal("1.25"),
    "s": "x",
    "st": {"a": 1, "b": "bb"},
    "l": [{"x": 1, "y": "yy"}],
    "m": [("k", {"p": 1.5})],
    "n": [1, None],
}

# PyIceberg 0.12 reads a list or a map of structs that is NULL as an empty one.
EMPTY = {"lis": "[]", "map": "MAP {}"}

# What changes, and what the row that was there reads as afterwards.
KINDS: dict[str, tuple[list[AnyChange], Row]] = {
    "add": ([Add("neu", "timestamptz")], {**PYTHON, "neu": None}),
    "add first": ([Add("neu", "list<long>", first=True)], {"neu": None, **PYTHON}),
    "add after": (
        [Add("f2", "double", after="f")],
        {"i": 1, "f": 1.5, "f2": None, **{k: v for k, v in PYTHON.items() if k not in "if"}},
    ),
    "rename": ([Rename("S", "text")], {("text" if k == "s" else k): v for k, v in PYTHON.items()}),
    "rename to another's old name": (
        [Rename("s", "t"), Rename("i", "s"), Rename("t", "i")],
        {{"s": "i", "i": "s"}.get(k, k): v for k, v in PYTHON.items()},
    ),
    "widen": (
        [Widen("i", "long"), Widen("f", "double"), Widen("d", "decimal(30, 2)")],
        PYTHON,
    ),
    "drop": ([Drop("s"), Drop("st")], {k: v for k, v in PYTHON.items() if k not in ("s", "st")}),
    "drop and add again": ([Drop("s"), Add("s", "string", after="d")], {**PYTHON, "s": None}),
    "drop and add as another type": (
        [Drop("i"), Add("i", "date", first=True)],
        {**PYTHON, "i": None},
    ),
    "move": (
        [Move("n", first=True), Move("i", after="M")],
        {k: PYTHON[k] for k in ("n", "f", "d", "s", "st", "l", "m", "i")},
    ),
    "a struct's fields": (
        [
            Widen("st.a", "long"),
            Rename("st.b", "bren"),
            Add("st.b", "string", first=True),
            Add("st.c", "struct<z: long>", after="a"),
        ],
        {**PYTHON, "st": {"b": None, "a": 1, "c": None, "bren": "bb"}},
    ),
    "a struct's field, dropped and added again": (
        [Drop("st.b"), Add("st.b", "string")],
        {**PYTHON, "st": {"a": 1, "b": None}},
    ),
    "what a list holds": (
        [Rename("l.element.y", "why"), Widen("l.element.x", "long"), Widen("n.element", "long")],
        {**PYTHON, "l": [{"x": 1, "why": "yy"}]},
    ),
    "what a map holds": (
        [Widen("m.value.p", "double"), Rename("m.value.p", "pee"), Add("m.value.q", "uuid")],
        {**PYTHON, "m": [("k", {"pee": 1.5, "q": None})]},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_sees_old_rows_as_the_new_schema_says(lake: Lake, kind: str) -> None:
    changes, expected = KINDS[kind]
    lake.write("t", ROW, COLUMNS)
    before = lake.metadata("t")
    evolve(lake, "t", *changes)
    got = read(lake, "t")
    assert got == [expected]
    assert [list(row) for row in got] == [list(expected)], "and in that order"
    assert read(lake, "t", as_of=before["current-snapshot-id"]) == [PYTHON], "as it was then"

    columns = {column.name: column.type for column in lake.catalog.describe(main("t")).columns}
    selected = ", ".join(f'{EMPTY.get(type_[:3], "NULL")} AS "{n}"' for n, type_ in columns.items())
    lake.write("t", f"SELECT {selected}", columns, mode="append")
    empty: Row = {n: [] if type_[:3] in EMPTY else None for n, type_ in columns.items()}
    assert read(lake, "t") == sorted([expected, empty], key=repr)
    assert read(lake, "t", as_of=before["current-snapshot-id"]) == [PYTHON]


def test_a_name_that_comes_back_never_shows_old_values(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'secret' AS name")
    evolve(lake, "t", Drop("name"))
    evolve(lake, "t", Add("name", "string"))
    lake.write("t", "SELECT 2 AS id, 'new' AS name", mode="append")
    assert read(lake, "t") == [{"id": 1, "name": None}, {"id": 2, "name": "new"}]
    assert lake.arrow("t", where="name = 'secret'").num_rows == 0
    assert lake.arrow("t", where="name IS NULL").to_pylist() == [{"id": 1, "name": None}]
    assert lake.metadata("t")["last-column-id"] == 3, "no id is given twice"


def test_statistics_of_narrow_columns_hide_no_row_of_wide_ones(lake: Lake) -> None:
    columns = {"i": "int", "f": "float", "d": "decimal(9,2)"}
    for start in (-100, -50, 0, 50):
        values = "i::INT AS i, (i / 4)::FLOAT AS f, i / 4 AS d"
        sql = f"SELECT {values} FROM range({start}, {start + 50}) r(i)"
        lake.write("t", sql, columns, mode="append" if start > -100 else "create")
    evolve(lake, "t", Widen("i", "long"), Widen("f", "double"), Widen("d", "decimal(38,2)"))
    wide = {"i": "long", "f": "double", "d": "decimal(38,2)"}
    lake.write("t", "SELECT 1099511627776 AS i, 1e300 AS f, 1e30 AS d", wide, mode="append")
    loaded = lake.catalog.load(main("t"))
    for where, count in {
        "i = -77": 1,
        "i > 40": 60,
        "i > 4000000000": 1,
        "f BETWEEN -2.5 AND 2.5": 21,
        "f > 1e200": 1,
        "d = 3.25": 1,
        "d < -20": 20,
        "d > 1000000": 1,
    }.items():
        assert lake.arrow("t", where=where).num_rows == count, where
        scan = f"SELECT * FROM iceberg_scan('{loaded.location}') WHERE {where}"
        assert lake.cursor.execute(scan).to_arrow_table().num_rows == count, where


@pytest.mark.parametrize(
    ("partition_by", "sort_by"),
    [(["bucket(4, i)"], []), (["truncate(10, i)"], ["i desc"]), (["i"], ["s"]), (["day(at)"], [])],
)
def test_a_layout_follows_its_columns(
    lake: Lake, partition_by: list[str], sort_by: list[str]
) -> None:
    columns = {"i": "int", "s": "string", "at": "timestamp"}
    sql = "SELECT i::{} AS i, 's' || i AS s, TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS at"
    rows = f"{sql.format('INT')} FROM range(0, 30) r(i)"
    lake.write("t", rows, columns, partition_by=partition_by, sort_by=sort_by)
    evolve(lake, "t", Widen("i", "long"), Rename("i", "n"), Rename("at", "time"), Rename("s", "x"))
    wide = {"n": "long", "x": "string", "time": "timestamp"}
    rows = sql.format("BIGINT").replace("AS i", "AS n").replace("AS s", "AS x")
    rows = rows.replace("AS at", "AS time") + " FROM range(20, 50) r(i)"
    lake.write("t", rows, wide, mode="append")
    found = read(lake, "t")
    assert [row["n"] for row in sorted(found, key=lambda row: row["n"])] == sorted(
        [*range(30), *range(20, 50)]
    )
    assert lake.arrow("t", where="n = 25").num_rows == 2
    with lake.pyiceberg("t") as theirs:
        assert theirs.scan("n == 25").to_arrow().num_rows == 2
    lake.write("t", rows, wide, mode="overwrite")
    assert len(read(lake, "t")) == 30
    table = lake.catalog.describe(main("t"))
    renamed = {"bucket(4, i)": "bucket(4, n)", "truncate(10, i)": "truncate(10, n)", "i": "n"}
    renamed |= {"day(at)": "day(time)", "i desc": "n desc", "s": "x"}
    assert table.partition_by == [renamed[each] for each in partition_by]
    assert table.sort_by == [renamed[each] for each in sort_by]


REFUSED: list[tuple[AnyChange, str]] = [
    (Add("id", "long"), "there is a 'id' already"),
    (Add("ID", "long"), "names differ by more than case"),
    (Add("st.A", "long"), "there is a 'a' already"),
    (Add("x", "int128"), "cannot be stored"),
    (Add("x/y", "long"), "`/` or a control character"),
    (Add("  ", "long"), "it is empty"),
    (Add("nowhere.x", "long"), "there is no nowhere; there are id"),
    (Add("name.x", "long"), "only a struct holds fields"),
    (Add("x", "long", after="nowhere"), "no other column 'nowhere'"),
    (Add("x", "long", after="id", first=True), '"first" and "after" are two places'),
    (Add("at_day", "long"), "the name of a partition"),
    (Add("x..y", "long"), "it is no path"),
    (Add("m.key.x", "long"), "the keys of a map never change"),
    (Widen("name", "binary"), "string does not widen to binary"),
    (Widen("id", "int"), "long does not widen to int"),
    (Widen("id", "double"), "long does not widen to double"),
    (Widen("dec", "decimal(9,3)"), "does not widen"),
    (Widen("dec", "decimal(8,2)"), "does not widen"),
    (Widen("dec", "decimal(20,3)"), "does not widen"),
    (Widen("st", "struct<a: long, b: string>"), "does not widen"),
    (Widen("m.key", "long"), "the keys of a map never change"),
    (Rename("id", "NAME"), "there is a 'name' already"),
    (Rename("id", "at_day"), "the name of a partition"),
    (Rename("nowhere", "x"), "there is no nowhere"),
    (Rename("st.nowhere", "x"), "there is no st.nowhere; st holds a, b"),
    (Rename("l.element", "x"), "has no name of its own"),
    (Rename("name.x", "y"), "name is string and holds nothing"),
    (Drop("at"), "the table is partitioned by it"),
    (Drop("name"), "the table is sorted by it"),
    (Drop("one.only"), "it is the last one there"),
    (Drop("m.value"), "has no name of its own"),
    (Move("id"), "say where"),
    (Move("id", after="name", first=True), '"first" and "after" are two places'),
    (Move("id", after="id"), "no other column"),
    (Move("id", after="a"), "no other column"),
    (Move("l.element", first=True), "has no name of its own"),
]


def test_each_refused_change_says_why_and_nothing_is_written(lake: Lake) -> None:
    create(lake)
    before, files = lake.metadata("t"), lake.tree()
    changes = [Add("fine", "long"), *(change for change, _ in REFUSED)]
    with pytest.raises(SchemaChangeError, match="nothing was changed") as caught:
        evolve(lake, "t", *changes)
    said: Any = caught.value.context["changes"]
    assert [each["number"] for each in said] == list(range(1, len(REFUSED) + 1))
    for (change, reason), each in zip(REFUSED, said, strict=True):
        assert each["name"] == change.name and reason in each["reason"], (change, each)
    assert lake.metadata("t") is before and lake.tree() == files


def create(lake: Lake) -> None:
    columns = {
        "id": "long",
        "name": "string",
        "dec": "decimal(9,2)",
        "at": "timestamp",
        "st": "struct<a: int, b: string>",
        "one": "struct<only: long>",
        "l": "list<long>",
        "m": "map<string, long>",
    }
    lake.catalog.create_table(
        main("t"),
        [Column(name, type_) for name, type_ in columns.items()],
        partition_by=["day(at)"],
        sort_by=["name"],
    )


def test_names_with_dots_are_written_in_quotes(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'x' AS \"a.b\"", {"id": "long", "a.b": "string"})
    evolve(lake, "t", Add('"c.d"', 'struct<"e.f": long>'), Add('"c.d"."g.h"', "long"))
    evolve(lake, "t", Rename("a.b", 'q"'), Rename('"c.d"."e.f"', "e"), Add('"""."', "long"))
    names = [column.name for column in lake.catalog.describe(main("t")).columns]
    assert names == ["id", 'q"', "c.d", '".']
    assert lake.catalog.schemas.get(main("t")).columns[2].type == 'struct<e: long, "g.h": long>'
    evolve(lake, "t", Drop('q"'), Drop('".'))
    assert read(lake, "t") == [{"id": 1, "c.d": None}]


def test_ids_are_given_to_a_structs_fields_before_what_is_in_them(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    schema = evolve(lake, "t", Add("x", "struct<a: list<long>, b: struct<c: long>>"))
    (x,) = (column for column in schema.columns if column.name == "x")
    assert (x.id, [each.id for each in x.fields]) == (3, [4, 5])
    assert [each.fields[0].id for each in x.fields] == [6, 7]
    assert lake.metadata("t")["last-column-id"] == 7


def test_what_changes_nothing_writes_nothing_and_an_old_schema_is_not_kept_twice(
    lake: Lake,
) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    before, files = lake.metadata("t"), lake.tree()
    nothing: list[AnyChange] = [
        Rename("id", "id"),
        Widen("id", "long"),
        Add("x", "long"),
        Drop("x"),
    ]
    assert evolve(lake, "t", *nothing, Move("id", first=True)).schema_id == 0
    assert lake.metadata("t") is before and lake.tree() == files
    assert evolve(lake, "t", Rename("name", "word")).schema_id == 1
    assert read(lake, "t") == [{"id": 1, "word": "a"}]
    back = evolve(lake, "t", Rename("word", "name"))
    assert (back.schema_id, len(back.schemas)) == (0, 2)
    assert read(lake, "t") == [{"id": 1, "name": "a"}]


def test_an_empty_table_and_one_whose_rows_went_change_too(lake: Lake) -> None:
    create(lake)
    evolve(lake, "t", Rename("id", "number"), Drop("l"))
    assert lake.arrow("t").column_names == ["number", "name", "dec", "at", "st", "one", "m"]
    lake.write("u", "SELECT 1 AS id, 'a' AS name")
    lake.write("u", "SELECT 1 AS id, 'a' AS name WHERE false", mode="overwrite")
    evolve(lake, "u", Drop("name"), Add("name", "long"))
    assert lake.arrow("u").column_names == ["id", "name"] and read(lake, "u") == []


def test_two_evolutions_at_once_both_happen_unless_they_say_what_they_expect(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: evolve(lake, "t", Add(f"c{n}", "long")), range(8)))
    schema = lake.catalog.schemas.get(main("t"))
    assert {column.name for column in schema.columns} >= {f"c{n}" for n in range(8)}
    assert len({column.id for column in schema.columns}) == 10

    def once(number: int) -> bool:
        try:
            evolve(lake, "t", Add(f"d{number}", "long"), expected=schema.schema_id)
        except SchemaMovedError as error:
            assert error.retryable and error.context["schema_id"] == schema.schema_id + 1
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(once, range(4))) == 1
    assert len(lake.catalog.schemas.get(main("t")).columns) == 11


def test_the_protocol_can_require_the_schema_and_the_last_id(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    metadata = lake.metadata("t")
    last = {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 2}
    check(metadata, [last, {"type": "assert-current-schema-id", "current-schema-id": 0}])
    evolve(lake, "t", Add("x", "long"))
    with pytest.raises(ConflictError, match="last assigned field id changed"):
        check(lake.metadata("t"), [last])
    with pytest.raises(InvalidInputError, match="no schema 7"):
        apply(metadata, [{"action": "set-current-schema", "schema-id": 7}])


def test_a_table_that_is_not_there_or_found_by_name_alone_does_not_change(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError):
        evolve(lake, "nowhere", Add("x", "long"))
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    key = lake.data_files("t")[0]
    lake.catalog.loading.add_files(
        main("named"),
        lake.catalog.get(main("t")).columns,
        [NewFile(lake.store.uri(key), 1, lake.store.size(key) or 0)],
        properties={},
        seal=lambda tx, uuid: None,
    )
    assert NAME_MAPPING in lake.metadata("named")["properties"]
    with pytest.raises(SchemaFixedError, match="no field ids"):
        evolve(lake, "named", Rename("name", "word"))
    assert evolve(lake, "named", Move("id", first=True)).schema_id == 0, "nothing differs"


def test_files_without_ids_stay_out_of_a_table_whose_columns_changed(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    evolve(lake, "t", Drop("name"), Add("name", "string"))
    with pytest.raises(InvalidInputError, match="its columns were changed"):
        lake.catalog.loading.add_files(
            main("t"),
            lake.catalog.get(main("t")).columns,
            [NewFile(lake.store.uri("objects/x"), 1, 1)],
            properties={},
            seal=lambda tx, uuid: None,
        )


def test_a_dataset_shows_the_fingerprint_of_its_new_columns(lake: Lake) -> None:
    columns = [Column("id", "long"), Column("name", "string")]
    lake.catalog.create_table(main("t"), columns, properties={FINGERPRINT: "abc"})
    assert known_fingerprint(lake.catalog.get(main("t"))) == "abc"
    evolve(lake, "t", Rename("name", "word"))
    state = lake.catalog.get(main("t"))
    assert known_fingerprint(state) == fingerprint([columns[0], Column("word", "string")])


def test_a_key_is_kept_with_the_change(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    once: Idempotency[TableSchema] = Idempotency(
        "k", "hash", lambda schema: b"%d" % schema.schema_id
    )
    lake.catalog.schemas.evolve(main("t"), SchemaEvolve([Add("x", "long")]), once)
    assert lake.catalog.keys.find("k", "hash") == b"1"


def test_many_files_of_many_schemas_are_scanned_alike(lake: Lake) -> None:
    expected = []
    lake.write("t", "SELECT 0 AS id, 'n0' AS name")
    for number in range(1, 12):
        evolve(lake, "t", Add(f"c{number}", "long"))
        columns = {c.name: c.type for c in lake.catalog.get(main("t")).columns}
        cells = "".join(f", {number} AS c{n}" for n in range(1, number + 1))
        lake.write("t", f"SELECT {number} AS id, 'n' AS name{cells}", columns, mode="append")
    for number in range(12):
        cells_of = {f"c{n}": number if n <= number else None for n in range(1, 12)}
        expected.append({"id": number, "name": "n" if number else "n0", **cells_of})
    assert sorted(read(lake, "t"), key=lambda row: row["id"]) == expected
    assert len(scanned(lake, "t")) == 12


def test_rows_written_under_the_old_columns_are_refused_by_name(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    evolve(lake, "t", Rename("name", "word"))
    with pytest.raises(ConflictError, match="column 'word' is missing"):
        lake.catalog.loading.write(
            lake.cursor, main("t"), rows_of("SELECT 2 AS id, 'b' AS name"), mode="append"
        )


@pytest.mark.parametrize("nested", [False, True], ids=["by read_parquet", "by iceberg_scan"])
def test_rows_of_old_files_are_updated_and_deleted_as_they_read_now(
    lake: Lake, nested: bool
) -> None:
    columns = {"id": "long", "name": "string", "st": "struct<a: long, b: string>"}
    for start in (0, 3):
        sql = (
            f"SELECT i AS id, 'n' || i AS name, {{'a': i, 'b': 'b' || i}} AS st FROM range({start}"
        )
        lake.write("t", f"{sql}, {start + 3}) r(i)", columns, mode="append" if start else "create")
    evolve(lake, "t", Rename("name", "word"), Add("name", "string"), Move("st", first=True))
    if nested:
        evolve(lake, "t", Rename("st.b", "c"), Add("st.b", "string"))
    untouched = {row["id"]: row for row in read(lake, "t")}
    lake.catalog.rows.update(lake.cursor, main("t"), {"name": "word || '!'"}, "id = 4")
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 5 OR name = 'n1'")
    rows = {row["id"]: row for row in read(lake, "t")}
    assert rows.keys() == {0, 1, 2, 3, 4}
    assert rows == {
        id_: {**row, "name": "n4!" if id_ == 4 else None}
        for id_, row in untouched.items()
        if id_ != 5
    }
    assert rows[4]["st"] == ({"a": 4, "c": "b4", "b": None} if nested else {"a": 4, "b": "b4"})


def test_rows_staged_before_a_change_are_committed_as_if_before_it(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    staged = lake.catalog.loading.stage(
        lake.cursor, main("t"), rows_of("SELECT 2 AS id, 'b' AS name"), mode="append"
    )
    evolve(lake, "t", Rename("name", "word"), Add("name", "long", first=True))
    lake.catalog.loading.commit([staged])
    assert read(lake, "t") == [
        {"name": None, "id": 1, "word": "a"},
        {"name": None, "id": 2, "word": "b"},
    ]


def test_a_load_that_brings_columns_loses_to_a_change_that_was_faster(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    columns = {"id": "long", "name": "string", "new": "long"}
    rows = rows_of("SELECT 2 AS id, 'b' AS name, 3 AS new", columns)
    staged = lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="append", evolve=True)
    evolve(lake, "t", Add("other", "string"))
    evolve(lake, "t", Drop("other"))
    files = lake.tree()
    with pytest.raises(SchemaChangedError):
        lake.catalog.loading.commit([staged])
    assert len(lake.tree()) == len(files) - 1, "its file is gone"
    lake.catalog.loading.write(lake.cursor, main("t"), rows, mode="append", evolve=True)
    assert read(lake, "t")[1] == {"id": 2, "name": "b", "new": 3}
    assert lake.metadata("t")["last-column-id"] == 4
