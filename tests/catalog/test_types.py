"""Types are the same in text, in Iceberg metadata, in DuckDB and in the files."""

import itertools
import unicodedata
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.schema import Schema

from lakehouse.catalog import Column, TableRef, UnsupportedTypeError, duckdb_type, iceberg_type
from lakehouse.catalog.errors import (
    SchemaChangeError,
    UnwritableTypeError,
    ValueLostError,
)
from lakehouse.catalog.metadata import schema_of
from lakehouse.catalog.schema_models import Add
from lakehouse.catalog.types import make_fields, parse_type, to_columns, type_text
from lakehouse.database import EngineError, quoted
from lakehouse.names import InvalidNameError
from tests.catalog.evolved import evolve
from tests.catalog.lake import Lake, main

# An expression of DuckDB, the type in which it is stored, and the text of what is read back.
STORED = [
    ("true", "boolean", "true"),
    ("(-7)::TINYINT", "long", "-7"),
    ("(-7)::SMALLINT", "long", "-7"),
    ("(-7)::INTEGER", "long", "-7"),
    ("(-9223372036854775808)::BIGINT", "long", "-9223372036854775808"),
    ("255::UTINYINT", "long", "255"),
    ("65535::USMALLINT", "long", "65535"),
    ("4294967295::UINTEGER", "long", "4294967295"),
    ("18446744073709551615::UBIGINT", "decimal(20,0)", "18446744073709551615"),
    ("(-99999999999999999999)::HUGEINT", "decimal(38,0)", "-99999999999999999999"),
    ("99999999999999999999::UHUGEINT", "decimal(38,0)", "99999999999999999999"),
    ("1.5::FLOAT", "float", "1.5"),
    ("0.1::DOUBLE", "double", "0.1"),
    ("12.345::DECIMAL(9,3)", "decimal(9,3)", "12.345"),
    ("(-1)::DECIMAL(38,37)", "decimal(38,37)", "-1.0000000000000000000000000000000000000"),
    ("DATE '1969-12-31'", "date", "1969-12-31"),
    ("TIME '23:59:59.999999'", "time", "23:59:59.999999"),
    ("TIMESTAMP '1969-12-31 23:59:59.999999'", "timestamp", "1969-12-31 23:59:59.999999"),
    ("TIMESTAMP_S '2020-01-02 03:04:05'", "timestamp", "2020-01-02 03:04:05"),
    ("TIMESTAMP_MS '2020-01-02 03:04:05.678'", "timestamp", "2020-01-02 03:04:05.678"),
    ("TIMESTAMP_NS '2020-01-02 03:04:05.678901'", "timestamp", "2020-01-02 03:04:05.678901"),
    ("TIMESTAMPTZ '2020-01-02 03:04:05+02'", "timestamptz", "2020-01-02 01:04:05+00"),
    ("'ünï 🐘'", "string", "ünï 🐘"),
    ("UUID 'f79c3e09-677c-4bbd-a479-3f349cb785e7'", "uuid", "f79c3e09-677c-4bbd-a479-3f349cb785e7"),
    ("'\\x00\\xFFa'::BLOB", "binary", "\\x00\\xFFa"),
    (
        "'POINT (1 2)'::GEOMETRY",
        "binary",
        "\\x01\\x01\\x00\\x00\\x00" + "\\x00" * 6 + "\\xF0?" + "\\x00" * 7 + "@",
    ),
    ("TIMETZ '10:00:00+01'", "string", "10:00:00+01"),
    ("INTERVAL '1 month 2 days'", "string", "1 month 2 days"),
    ("'0101'::BIT", "string", "0101"),
    ("""'{"a": 1}'::JSON""", "string", '{"a": 1}'),
    ("123456789012345678901234567890123456789012345::BIGNUM", "string", None),
    ("""'y)z'::ENUM('a b', 'c,d', 'y)z', 'q"t', 'it''s')""", "string", "y)z"),
    ("NULL", "long", None),  # in a projection DuckDB itself calls it INTEGER
    ("[1, 2]::INTEGER[2]", "list<long>", "[1, 2]"),
    ("[[1], NULL, []]", "list<list<long>>", "[[1], NULL, []]"),
    ("{'a': 1, 'b c': 'x'}", 'struct<a: long, "b c": string>', "{'a': 1, 'b c': x}"),
    ("MAP {'k': [1.5::FLOAT]}", "map<string, list<float>>", "{k=[1.5]}"),
    (
        "[{'m': MAP {1: {'x': DATE '2020-01-01'}}}]",
        "list<struct<m: map<long, struct<x: date>>>>",
        "[{'m': {1={'x': 2020-01-01}}}]",
    ),
]


def describe(lake: Lake, expression: str) -> str:
    (row,) = lake.cursor.execute(f"DESCRIBE SELECT {expression} AS x").fetchall()
    return str(row[1])


@pytest.mark.parametrize(("expression", "type_", "text"), STORED)
def test_a_value_is_stored_as_its_type_says_and_read_back(
    shared_lake: Lake, expression: str, type_: str, text: str | None
) -> None:
    lake, name = shared_lake, f"t{STORED.index((expression, type_, text))}"
    assert iceberg_type(describe(lake, expression)) == type_

    lake.write(name, f"SELECT {expression} AS x", {"x": type_})

    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef(None, name)])
    read = f'SELECT CAST(x AS VARCHAR) FROM "{pinned.relation}"'
    cast = f"CAST({expression} AS {duckdb_type(type_)})"
    found = lake.cursor.execute(read).fetchall()
    if "GEOMETRY" not in expression:  # which DuckDB casts to no BLOB
        assert found == lake.cursor.execute(f"SELECT CAST({cast} AS VARCHAR)").fetchall()
    assert text is None or found == [(text,)]
    assert pinned.columns == (Column("x", type_),)
    read_type = describe(lake, f'(SELECT x FROM "{pinned.relation}")')
    assert read_type.replace('"', "") == duckdb_type(type_).replace('"', "")
    with lake.pyiceberg(name) as table:
        assert len(table.scan().to_arrow()) == 1


@pytest.mark.parametrize(
    "duckdb", ["UNION(num INTEGER)", "VARIANT", "TIME_NS", "STRUCT(INTEGER, INTEGER)", "INTEGER x"]
)
def test_what_iceberg_cannot_hold_is_refused_by_name(duckdb: str) -> None:
    with pytest.raises(UnsupportedTypeError, match="cannot be stored") as caught:
        iceberg_type(duckdb, "col")
    assert duckdb in str(caught.value) and "'col'" in str(caught.value)


def test_a_number_that_38_digits_cannot_hold_is_the_engines_error(lake: Lake) -> None:
    before = lake.tree()
    with pytest.raises(EngineError, match=r"^Conversion Error"):
        lake.write("t", f"SELECT {10**38}::UHUGEINT AS x", {"x": "decimal(38,0)"})
    assert lake.tree() == before


def test_nanoseconds_that_would_be_lost_are_refused(lake: Lake) -> None:
    before = lake.tree()
    with pytest.raises(ValueLostError, match="'x' has nanoseconds"):
        lake.write("t", "SELECT TIMESTAMP_NS '2020-01-01 00:00:00.000000001' x", {"x": "timestamp"})
    assert lake.tree() == before


@pytest.mark.parametrize("infinite", ["DATE", "TIMESTAMP", "TIMESTAMPTZ"])
def test_infinity_is_refused_at_the_door(lake: Lake, infinite: str) -> None:
    type_ = iceberg_type("TIMESTAMP WITH TIME ZONE" if infinite == "TIMESTAMPTZ" else infinite)
    with pytest.raises(ValueLostError, match="infinite"):
        lake.write("t", f"SELECT '-infinity'::{infinite} AS \"it's\"", {"it's": type_})
    assert lake.catalog.find(main("t")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "int64",
        "list<>",
        "list<long",
        "list<long>>",
        "list<long, long>",
        "map<string>",
        "struct<>",
        "struct<a>",
        "struct<a: long,>",
        "decimal",
        "decimal(39,0)",
        "decimal(0,0)",
        "decimal(5,6)",
        "decimal(" + "9" * 5000 + ",0)",
        "fixed[" + "9" * 5000 + "]",
        'struct<"a: long>',
        "long; drop table",
        "list<" * 40 + "long" + ">" * 40,
        "timestamp_ns",
    ],
)
def test_text_that_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedTypeError):
        parse_type(text)


@pytest.mark.parametrize(
    ("type_", "path"),
    [
        ("fixed[4]", "a"),
        ("list<fixed[4]>", "a.element"),
        ("struct<b: map<string, fixed[4]>>", "a.b.value"),
    ],
)
def test_a_type_that_no_file_of_ours_could_hold_is_given_to_no_column(
    lake: Lake, type_: str, path: str
) -> None:
    with pytest.raises(UnwritableTypeError, match=rf"'{path}' .* type binary"):
        lake.write("t", "SELECT NULL AS a", {"a": type_})
    lake.write("t", "SELECT 1 AS id", {"id": "long"})
    with pytest.raises(SchemaChangeError, match=rf"'{path}' .* type binary"):
        evolve(lake, "t", Add("a", type_))
    assert [column.name for column in lake.catalog.get(main("t")).columns] == ["id"]


def test_two_fields_of_a_struct_that_differ_by_case_are_refused() -> None:
    with pytest.raises(InvalidNameError, match="by case"):
        parse_type("struct<a: long, A: long>")


@pytest.mark.parametrize(
    ("other", "type_"),
    [
        ("a.b", "struct<b: long>"),
        ("a.element", "list<long>"),
        ("a.b.c", "struct<b: struct<c: int>>"),
    ],
)
def test_two_fields_of_one_path_are_refused(lake: Lake, other: str, type_: str) -> None:
    with pytest.raises(InvalidNameError, match="inside of another column"):
        lake.catalog.create_table(main("t"), [Column(other, "long"), Column("a", type_)])
    lake.write("t", "SELECT 1 AS id", {"id": "long"})
    with pytest.raises(SchemaChangeError, match="inside of another column"):
        evolve(lake, "t", Add(quoted(other), "long"), Add("a", type_))
    with pytest.raises(InvalidNameError, match="inside of another column"):
        lake.write("u", f"SELECT 1 AS {quoted(other)}, NULL AS a", {other: "long", "a": type_})


def test_a_wide_struct_is_parsed_in_time() -> None:
    text = "struct<" + ", ".join(f"f{number}: long" for number in range(20_000)) + ">"
    assert type_text(parse_type(text)) == text


SCALARS = "boolean long float double date time timestamp timestamptz string uuid binary"
PRIMITIVES = st.sampled_from(
    [*SCALARS.split(), "decimal(9,2)", "decimal(38,38)", "decimal(1,0)"]  # `int`: below
)
ODD = [
    "select",
    "Order By",
    "a.b",
    'a"b',
    "it's",
    "🐘",
    "x:y",
    "a,b",
    "<x>",
    "(y)",
    "[z]",
    "\u00a0x",
]
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/")
NAMES = st.one_of(
    st.sampled_from([*ODD, "x" * 255, "'", '"', "list", "element", "key"]),
    st.text(LETTERS, min_size=1, max_size=20),
).filter(lambda name: bool(name.strip()) and len(name.encode()) <= 255)


def normal(names: list[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]


def structs(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.lists(NAMES, min_size=1, max_size=4).map(normal)
    return names.flatmap(
        lambda found: st.lists(inner, min_size=len(found), max_size=len(found)).map(
            lambda types: {
                "type": "struct",
                "fields": [
                    {"name": name, "type": type_}
                    for name, type_ in {
                        name.lower(): (name, type_)
                        for name, type_ in zip(found, types, strict=True)
                    }.values()
                ],
            }
        )
    )


TYPES = st.recursive(
    PRIMITIVES,
    lambda inner: st.one_of(
        inner.map(lambda element: {"type": "list", "element": element}),
        st.tuples(PRIMITIVES, inner).map(
            lambda pair: {"type": "map", "key": pair[0], "value": pair[1]}
        ),
        structs(inner),
    ),
    max_leaves=8,
)


@given(TYPES)
@settings(max_examples=300, deadline=None)
def test_text_and_json_of_a_type_are_each_others_inverse(type_: Any) -> None:
    text = type_text(type_)
    assert parse_type(text) == type_
    fields, last_id = make_fields([Column("c", text)])
    assert to_columns(fields) == (Column("c", text),)
    ids = sorted(schema_ids(fields))
    assert ids == list(range(1, last_id + 1))


@given(TYPES)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_duckdb_reads_the_type_that_we_spell_and_spells_one_that_we_read(
    shared_lake: Lake, type_: Any
) -> None:
    sql = f"SELECT typeof(CAST(NULL AS {duckdb_type(type_)}))"
    (row,) = shared_lake.cursor.execute(sql).fetchall()
    assert iceberg_type(row[0]) == type_text(type_).replace("int", "long").replace(
        "longlong", "long"
    )


def schema_ids(fields: list[Any]) -> list[int]:
    found = []
    for each in fields:
        found.append(each["id"])
        found += type_ids(each["type"])
    return found


def type_ids(type_: Any) -> list[int]:
    if isinstance(type_, str):
        return []
    if type_["type"] == "struct":
        return schema_ids(type_["fields"])
    if type_["type"] == "list":
        return [type_["element-id"], *type_ids(type_["element"])]
    ids = [type_["key-id"], type_["value-id"]]
    return [*ids, *type_ids(type_["key"]), *type_ids(type_["value"])]


HOSTILE = [
    *("select", "Order By", "a.b", 'a"b', "it's", "🐘", "x:y", "a,b", "<x>", "(y)", "[z]", "{w}"),
    *("x" * 255, "ü" * 127, "'", '"', "'; DROP TABLE x; --", "a  b", "$1", "?", "%s"),
    *("element", "key", "value", "list", "filename", "file_row_number", "rowid", "\\", "#", "*"),
]


def test_field_ids_in_the_files_are_those_of_the_metadata_whatever_the_names(lake: Lake) -> None:
    types = itertools.cycle(["long", "list<long>", "struct<a: long>", "map<string, long>"])
    values = {
        "long": "1",
        "list<long>": "[1]",
        "struct<a: long>": "{'a': 1}",
        "map<string, long>": "MAP {'k': 1}",
    }
    columns = dict(zip(HOSTILE, types, strict=False))
    sql = ", ".join(f"{values[type_]} AS {quoted(name)}" for name, type_ in columns.items())
    lake.write("t", f"SELECT {sql}", columns)

    fields = schema_of(lake.metadata("t"))["fields"]
    (key,) = lake.data_files("t")
    schema = pq.read_schema(lake.store.root / key)
    written = {each.name: int((each.metadata or {})[b"PARQUET:field_id"]) for each in schema}
    assert written == {each["name"]: each["id"] for each in fields}
    everything = [
        id_
        for (id_,) in lake.cursor.execute(
            "SELECT field_id FROM parquet_schema(?) WHERE field_id IS NOT NULL",
            [str(lake.store.root / key)],
        ).fetchall()
    ]
    assert sorted(everything) == sorted(schema_ids(fields))
    with lake.pyiceberg("t") as table:
        read = table.scan().to_arrow()
    assert read.column_names == HOSTILE
    assert [list(each.values()) for each in read.to_pylist()] == [
        list(each.values()) for each in lake.arrow("t").to_pylist()
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_of_a_struct_field_keeps_its_id(shared_lake: Lake, name: str) -> None:
    lake, table = shared_lake, f"s{HOSTILE.index(name)}"
    type_ = type_text({"type": "struct", "fields": [{"name": name, "type": "long"}]})
    lake.write(table, f"SELECT {{{quoted(name)}: 5}} AS c", {"c": type_})
    (key,) = lake.data_files(table)
    ids = lake.cursor.execute(
        "SELECT field_id FROM parquet_schema(?) WHERE field_id IS NOT NULL",
        [str(lake.store.root / key)],
    ).fetchall()
    assert ids == [(1,), (2,)]
    assert lake.rows(table) == [({name: 5},)]


def test_int_is_read_though_we_never_write_it() -> None:
    assert parse_type("INT") == "int"
    assert duckdb_type("int") == "INTEGER"


def test_ids_are_given_level_by_level_as_java_does() -> None:
    fields, last_id = make_fields(
        [Column("a", "struct<x: long, l: list<long>>"), Column("b", "map<string, long>")]
    )
    assert last_id == 7
    assert [each["id"] for each in fields] == [1, 2]
    assert [each["id"] for each in fields[0]["type"]["fields"]] == [3, 4]
    assert fields[0]["type"]["fields"][1]["type"]["element-id"] == 5
    assert (fields[1]["type"]["key-id"], fields[1]["type"]["value-id"]) == (6, 7)


@given(TYPES)
@settings(max_examples=50, deadline=None)
def test_pyiceberg_reads_the_schema_that_we_write(type_: Any) -> None:
    fields, _ = make_fields([Column("c", type_text(type_))])
    schema = Schema.model_validate({"type": "struct", "schema-id": 0, "fields": fields})
    assert schema.find_field("c").field_id == 1
