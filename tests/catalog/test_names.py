"""Names are checked once and mean one thing, whatever their case."""

import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.catalog import (
    Column,
    InvalidNameError,
    TableExistsError,
    TableName,
    parse_table_name,
)
from lakehouse.catalog.errors import (
    NamespaceExistsError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
    TableNotFoundError,
)
from lakehouse.catalog.models import RefPut
from lakehouse.catalog.new_tables import SLUG_MAX, slug
from lakehouse.catalog.schema_models import Add, Rename, SchemaEvolve
from lakehouse.database import EngineError
from lakehouse.errors import InvalidInputError, LakehouseError
from lakehouse.names import (
    RESERVED_NAMESPACES,
    check_column_names,
    check_name,
    check_new_column_names,
    check_table_name,
    folded,
    shown,
)
from tests.catalog.lake import PAIR, Lake, main, rows_of

ONE = rows_of("SELECT 1 AS id, 'a' AS name")


@pytest.mark.parametrize(
    ("text", "namespace", "name"),
    [
        ("people", "main", "people"),
        ("sales.orders", "sales", "orders"),
        ("sales.orders.2024", "sales", "orders.2024"),
        ("ünï.🐘 x'\"", "ünï", "🐘 x'\""),
        ("x" * 255, "main", "x" * 255),
        ('"a.b".t', "a.b", "t"),
        ('"a.b".t.2024', "a.b", "t.2024"),
        ('"a.b""c".t', 'a.b"c', "t"),
        ('""""."t"', '"', '"t"'),
        ('"t"', "main", '"t"'),
    ],
)
def test_the_first_dot_ends_the_namespace_and_quotes_hold_several_levels(
    text: str, namespace: str, name: str
) -> None:
    assert parse_table_name(text) == TableName(namespace, name)
    assert str(TableName(namespace, name)).endswith(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" ", "empty"),
        (".x", "empty"),
        ("x.", "empty"),
        ("x" * 256, "256 bytes"),
        ("ü" * 128, "256 bytes"),
        ("a/b", "control"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("a\x7f", "control"),
        ("\ud800", "Unicode"),
        ("e\u0301", "NFC"),
        *((f"{name}.t", "reserved") for name in sorted(RESERVED_NAMESPACES)),
        ("MEMORY.t", "reserved"),
    ],
)
def test_what_cannot_be_a_name_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        parse_table_name(text)


@given(st.text('a."', min_size=1, max_size=8), st.text('a."', min_size=1, max_size=8))
def test_a_name_that_is_written_is_read_as_the_same(namespace: str, name: str) -> None:
    try:
        found = check_table_name(namespace, name)
    except InvalidNameError:  # a level of the namespace is empty
        return
    assert parse_table_name(str(found)) == found
    assert parse_table_name(shown(found)) == found


@given(st.text(max_size=300))
def test_a_name_is_taken_or_refused_and_never_anything_else(text: str) -> None:
    try:
        name = check_name("name", text)
    except InvalidNameError:
        return
    assert name == text == unicodedata.normalize("NFC", text)
    assert 1 <= len(name.encode()) <= 255


@given(st.text(max_size=300))
def test_a_folder_is_a_slug_and_no_pattern(text: str) -> None:
    assert slug(text).isascii()
    assert 1 <= len(slug(text)) <= SLUG_MAX
    assert not set(slug(text)) & set("[]*?/.%{} ")


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], ["Id", "x", "iD"]])
def test_columns_that_duckdb_cannot_tell_apart_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidNameError):
        check_column_names(names)


@given(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5))
def test_columns_are_compared_as_sqlite_and_duckdb_do(one: str, other: str) -> None:
    if "\x00" in one + other or any("\ud800" <= char <= "\udfff" for char in one + other):
        return
    connection = sqlite3.connect(":memory:")
    try:
        same = connection.execute("SELECT lower(?) = lower(?)", (one, other)).fetchone()[0]
    finally:
        connection.close()
    assert (folded(one) == folded(other)) == bool(same)


def test_names_that_differ_by_case_are_one_table(lake: Lake) -> None:
    lake.catalog.namespaces.create("Sales")
    lake.write("sales.Orders", "SELECT 1 AS id, 'a' AS name")

    assert lake.catalog.get(TableName("SALES", "ORDERS")).name == TableName("Sales", "Orders")
    assert lake.rows("SALES.oRDERS") == [(1, "a")]
    with pytest.raises(TableExistsError, match=r"Sales\.Orders"):
        lake.write("Sales.orders", "SELECT 2 AS id, 'b' AS name")
    with pytest.raises(TableExistsError):
        lake.catalog.create_table(TableName("sales", "ORDERS"), PAIR)
    with pytest.raises(NamespaceExistsError):
        lake.catalog.namespaces.create("SALES")
    lake.write("SALES.ORDERS", "SELECT 2 AS id, 'b' AS name", mode="append")
    assert lake.rows("Sales.Orders") == [(1, "a"), (2, "b")]
    assert lake.catalog.names() == [TableName("Sales", "Orders")]
    lake.catalog.drop(TableName("sales", "orders"))
    assert lake.catalog.names() == []


def test_letters_beyond_ascii_have_no_case(lake: Lake) -> None:
    lake.write("ä", "SELECT 1 AS id, 'a' AS name")
    lake.write("Ä", "SELECT 2 AS id, 'b' AS name")
    assert lake.rows("ä") == [(1, "a")]
    assert lake.rows("Ä") == [(2, "b")]


@pytest.mark.parametrize(
    "name", ["a[1]", "a*", "it's", 'q"x', "🐘", "x" * 255, "a..b", "select", "%s"]
)
def test_a_hostile_name_is_a_table_like_any_other(shared_lake: Lake, name: str) -> None:
    lake = shared_lake
    lake.catalog.loading.write(lake.cursor, main(name), ONE, mode="create")
    assert lake.catalog.get(main(name)).row_count == 1
    assert all(part.isascii() for part in lake.data_files(f"main.{name}"))
    assert lake.rows(f"main.{name}") == [(1, "a")]
    with lake.pyiceberg(f"main.{name}") as table:
        assert table.scan().to_arrow().num_rows == 1


@pytest.mark.parametrize(
    "name", ["..", ".a", "a.", " a", "a ", "\u00a0a", "Information_Schema", "a\u200bb", "a\u200db"]
)
def test_a_name_that_misleads_is_refused_when_something_is_made(lake: Lake, name: str) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")

    for make in (
        lambda: lake.catalog.create_table(main(name), PAIR),
        lambda: lake.catalog.loading.write(lake.cursor, main(name), ONE, mode="create"),
        lambda: lake.catalog.rename(main("t"), main(name)),
        lambda: lake.catalog.namespaces.create(name),
    ):
        with pytest.raises(InvalidNameError, match=r"take"):
            make()
    assert [str(each) for each in lake.catalog.names()] == ["main.t"]
    with pytest.raises(TableNotFoundError):  # what has such a name from before is still found
        lake.catalog.drop(main(name))


ALIKE = [
    " a",
    "a ",
    "a\u200bb",
    "\ufeffa",
    "a\u00a0b",
    "a\u202eb",
    "a\u00adb",
    "a\u2028b",
    "a\u3164",
]


@pytest.mark.parametrize("name", ALIKE)
def test_no_new_column_or_tag_looks_like_another(lake: Lake, name: str) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")

    for make in (
        lambda: lake.catalog.create_table(main("new"), [Column(name, "long")]),
        lambda: lake.catalog.loading.write(
            lake.cursor,
            main("new"),
            rows_of(f'SELECT 1 AS "{name}"', {name: "long"}),
            mode="create",
        ),
        lambda: lake.catalog.schemas.evolve(main("t"), SchemaEvolve([Add(name, "long")])),
        lambda: lake.catalog.schemas.evolve(main("t"), SchemaEvolve([Rename("id", name)])),
        lambda: lake.catalog.refs.put(main("t"), name, RefPut(type="tag")),
    ):
        with pytest.raises(LakehouseError, match=r"is refused: .*take"):
            make()
    assert [str(each) for each in lake.catalog.names()] == ["main.t"]


@pytest.mark.parametrize(
    "name",
    ["a b", "No.", "\u0645\u06cc\u200c\u062e\u0648", "👨\u200d👧", "café", "\u0430b"],
)
def test_what_can_be_seen_is_a_column(name: str) -> None:
    check_new_column_names([name])


def test_a_name_that_is_nearly_right_is_named(lake: Lake) -> None:
    lake.write("customers", "SELECT 1 AS id, 'a' AS name")
    with pytest.raises(TableNotFoundError, match=r"did you mean 'main\.customers'"):
        lake.catalog.get(main("custmers"))


def test_namespaces_are_made_and_dropped(lake: Lake) -> None:
    namespaces = lake.catalog.namespaces
    namespaces.create("sales")
    assert namespaces.list() == ["main", "sales"]
    with pytest.raises(NamespaceNotFoundError):
        namespaces.get("nope")
    with pytest.raises(NamespaceNotFoundError):
        namespaces.drop("nope")
    with pytest.raises(InvalidNameError):
        namespaces.create("a.b")
    with pytest.raises(InvalidInputError, match="always exists"):
        namespaces.drop("MAIN")
    lake.write("sales.t", "SELECT 1 AS id, 'a' AS name")
    with pytest.raises(NamespaceNotEmptyError):
        namespaces.drop("sales")
    lake.catalog.drop(TableName("sales", "t"))
    namespaces.drop("SALES")
    assert namespaces.list() == ["main"]
    with pytest.raises(NamespaceNotFoundError):
        lake.write("sales.t", "SELECT 1 AS id, 'a' AS name")


def test_a_table_in_a_namespace_dropped_meanwhile_is_not_made(lake: Lake) -> None:
    lake.catalog.namespaces.create("sales")
    staged = lake.catalog.loading.stage(lake.cursor, TableName("sales", "t"), ONE, mode="create")
    lake.catalog.namespaces.drop("sales")
    with pytest.raises(NamespaceNotFoundError):
        lake.catalog.loading.commit([staged])
    assert lake.catalog.names() == []
    assert lake.tree() == set()


def test_a_damaging_name_never_reaches_sql(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    with pytest.raises((TableNotFoundError, EngineError)):
        lake.rows('t" UNION SELECT 1 --')
