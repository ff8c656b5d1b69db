"""What lies in the warehouse becomes a table: Parquet, and whole tables of other engines."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as PyIcebergTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import FixedType, LongType, NestedField, StringType

from lakehouse.catalog import SchemaDriftError, TableExistsError
from lakehouse.catalog.avro import Fields, rewritten
from lakehouse.catalog.errors import (
    ErasureRefusedError,
    NotAdoptableError,
    NothingToAdoptError,
    PlaceTakenError,
    TableKnownError,
    UnwritableTypeError,
)
from lakehouse.catalog.layout import NotRewritableError
from lakehouse.catalog.manifests import Manifests, NewFile
from lakehouse.catalog.metadata import NAME_MAPPING
from lakehouse.catalog.models import Adopt, Table
from lakehouse.catalog.parquet import NotParquetError
from lakehouse.catalog.rules import rules_of
from lakehouse.catalog.schema_models import Drop, Rename
from lakehouse.config import MaintenanceConfig
from lakehouse.errors import InvalidInputError
from tests.catalog.evolved import evolve, read
from tests.catalog.lake import Lake, main

PEOPLE = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", None]})
SCHEMA = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "the name", StringType()),
)


def adopt(lake: Lake, table: str, *files: str, **how: str) -> Table:
    return lake.catalog.adopting.adopt(main(table), Adopt(list(files), **how))


def put(lake: Lake, key: str, table: pa.Table = PEOPLE) -> str:
    with lake.store.writing(key) as file:
        pq.write_table(table, file)
    return key


def copy(lake: Lake, key: str, sql: str, options: str = "") -> str:
    """Have DuckDB write a file, as anybody may."""
    lake.store.prepare(key.rpartition("/")[0])
    path = lake.store.path(key)
    lake.cursor.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet{options})")
    return key


# Parquet.


def test_files_that_duckdb_wrote_become_a_table_where_they_lie(lake: Lake) -> None:
    copy(lake, "landing/a.parquet", "SELECT 1::BIGINT AS id, 'a' AS name")
    copy(lake, "landing/b.parquet", "SELECT 'b' AS name, 2::BIGINT AS id")
    before = {key: lake.store.read(key) for key in lake.tree()}

    table = adopt(lake, "people", "landing/a.parquet", "landing/b.parquet", "landing/a.parquet")

    assert (table.row_count, table.file_count) == (2, 2)
    assert lake.rows("people") == [(1, "a"), (2, "b")]
    assert lake.data_files("people") == ["landing/a.parquet", "landing/b.parquet"]
    assert {key: lake.store.read(key) for key in before} == before
    first = table.snapshot_id
    lake.write("people", "SELECT 3 AS id, 'c' AS name", mode="append")
    assert len(read(lake, "people")) == 3
    assert lake.rows("people", first) == [(1, "a"), (2, "b")]
    lake.catalog.refs.rollback(main("people"), first or 0)
    assert lake.rows("people") == [(1, "a"), (2, "b")]


def test_rows_that_were_taken_out_do_not_come_back_with_their_folder(lake: Lake) -> None:
    copy(lake, "landing/1.parquet", "SELECT 1::BIGINT AS id, 'a' AS name UNION ALL SELECT 2, 'b'")
    copy(lake, "landing/2.parquet", "SELECT 3::BIGINT AS id, 'c' AS name")
    adopt(lake, "people", prefix="landing")
    lake.catalog.rows.delete(lake.cursor, main("people"), "id = 1")
    lake.catalog.rows.update(lake.cursor, main("people"), {"name": "'z'"}, "id = 3")
    copy(lake, "landing/3.parquet", "SELECT 4::BIGINT AS id, 'd' AS name")

    for _ in range(2):
        adopt(lake, "people", prefix="landing")

    assert lake.rows("people") == [(2, "b"), (3, "z"), (4, "d")]


def forget_past(lake: Lake, table: str) -> None:
    """Expire every snapshot but the current one, and delete what only those reach."""
    past = lake.snapshot_ids(table) - {lake.metadata(table)["current-snapshot-id"]}
    assert lake.catalog.expiry.expire(main(table), past) == len(past) > 0
    lake.catalog.expiry.delete(main(table))


def test_rows_that_were_taken_out_stay_out_when_no_snapshot_knows_them_any_more(
    lake: Lake,
) -> None:
    for number in (1, 2, 3):
        copy(lake, f"landing/{number}.parquet", f"SELECT {number}::BIGINT AS id, 'a' AS name")
    adopt(lake, "people", "landing/1.parquet", "landing/2.parquet")
    lake.catalog.rows.delete(lake.cursor, main("people"), "id = 1")
    forget_past(lake, "people")
    lake.catalog = lake.reopened()

    for _ in range(2):
        adopt(lake, "people", prefix="landing")
    adopt(lake, "people", "landing/1.parquet")
    assert lake.rows("people") == [(2, "a"), (3, "a")]

    lake.catalog.drop(main("people"))
    adopt(lake, "people", prefix="landing")  # another table, which never had them
    assert lake.rows("people") == [(1, "a"), (2, "a"), (3, "a")]


@pytest.mark.parametrize("expires", [False, True])
def test_an_adoption_that_was_rolled_back_can_be_made_again(lake: Lake, expires: bool) -> None:
    copy(lake, "landing/1.parquet", "SELECT 1::BIGINT AS id, 'a' AS name")
    adopt(lake, "people", prefix="landing")
    before = lake.metadata("people")["current-snapshot-id"]
    copy(lake, "landing/2.parquet", "SELECT 2::BIGINT AS id, 'b' AS name")
    adopt(lake, "people", prefix="landing")
    lake.catalog.refs.rollback(main("people"), before)
    if expires:
        forget_past(lake, "people")
    assert lake.rows("people") == [(1, "a")]
    adopt(lake, "people", prefix="landing")
    assert lake.rows("people") == [(1, "a"), (2, "b")]


def test_a_folder_is_adopted_again_for_what_is_new_in_it(lake: Lake) -> None:
    put(lake, "landing/2026/a.parquet")
    put(lake, "landing/2026/_temporary/x.parquet")
    lake.store.write("landing/_SUCCESS", b"")
    assert adopt(lake, "people", prefix="landing/").row_count == 2
    same = adopt(lake, "people", prefix="landing")
    put(lake, "landing/2027/b.parquet")

    more = adopt(lake, "people", prefix="landing")

    assert (same.row_count, more.row_count) == (2, 4)
    assert len(lake.catalog.snapshots(main("people"))) == 2
    assert len(read(lake, "people")) == 4


def test_field_ids_that_agree_need_no_names_so_columns_can_change(lake: Lake) -> None:
    ids = ", FIELD_IDS {id: 1, name: 2}"
    copy(lake, "landing/a.parquet", "SELECT 1::BIGINT AS id, 'a' AS name", ids)
    adopt(lake, "people", "landing/a.parquet")
    assert NAME_MAPPING not in lake.metadata("people")["properties"]

    evolve(lake, "people", Rename("name", "who"))

    assert read(lake, "people") == [{"id": 1, "who": "a"}]
    swapped = ", FIELD_IDS {id: 2, who: 1}"
    copy(lake, "landing/b.parquet", "SELECT 1::BIGINT AS id, 'a' AS who", swapped)
    with pytest.raises(NotAdoptableError, match=r"b\.parquet.*'id' has the field id 2, the table"):
        adopt(lake, "people", "landing/b.parquet")


def test_a_file_with_ids_beside_one_without_is_read_by_name(lake: Lake) -> None:
    ids = ", FIELD_IDS {id: 1, name: 2}"
    copy(lake, "landing/a.parquet", "SELECT 1::BIGINT AS id, 'a' AS name", ids)
    copy(lake, "landing/b.parquet", "SELECT 'b' AS name, 2::BIGINT AS id")
    adopt(lake, "people", prefix="landing")
    assert [row["name"] for row in read(lake, "people")] == ["a", "b"]
    bad = ", FIELD_IDS {id: 9, name: 8}"
    copy(lake, "landing/c.parquet", "SELECT 1::BIGINT AS id, 'a' AS name", bad)
    with pytest.raises(NotAdoptableError, match=r"c\.parquet"):
        adopt(lake, "others", "landing/b.parquet", "landing/c.parquet")


def test_ids_inside_of_nested_columns_count_too(lake: Lake) -> None:
    sql = "SELECT 1::BIGINT AS id, [{'x': 1.5::DOUBLE}] AS points, MAP {'a': 2::BIGINT} AS counts"
    points = "{__duckdb_field_id: 2, element: {__duckdb_field_id: 4, x: 5}}"
    counts = "{__duckdb_field_id: 3, key: 6, value: 7}"
    ids = f", FIELD_IDS {{id: 1, points: {points}, counts: {counts}}}"
    copy(lake, "landing/a.parquet", sql, ids)
    adopt(lake, "nested", "landing/a.parquet")
    assert NAME_MAPPING not in lake.metadata("nested")["properties"]
    assert read(lake, "nested") == [{"id": 1, "points": [{"x": 1.5}], "counts": [("a", 2)]}]
    copy(lake, "landing/b.parquet", sql, ids.replace("x: 5", "x: 9"))
    with pytest.raises(NotAdoptableError, match=r"'points\.element\.x' has the field id 9"):
        adopt(lake, "nested", "landing/b.parquet")


def test_files_that_differ_are_named_and_nothing_is_left(lake: Lake) -> None:
    put(lake, "landing/a.parquet")
    put(lake, "landing/b.parquet", PEOPLE.append_column("city", pa.array(["x", "y"])))
    put(lake, "landing/c.parquet", PEOPLE.set_column(0, "id", pa.array([1, 2], pa.int32())))
    put(lake, "landing/ns.parquet", pa.table({"at": pa.array([1], pa.timestamp("ns"))}))
    lake.store.write("landing/no.parquet", b"PAR1 this is none")
    before = lake.tree()
    refused: list[tuple[type[Exception], str, list[str]]] = [
        (SchemaDriftError, r"b\.parquet: city string is not in the others", ["a", "b"]),
        (SchemaDriftError, r"c\.parquet: id long is missing", ["a", "c"]),
        (NotAdoptableError, r"ns\.parquet.*'at'", ["ns"]),
        (NotParquetError, r"no\.parquet", ["a", "no"]),
        (NothingToAdoptError, "no such file", ["gone"]),
    ]
    for kind, words, names in refused:
        with pytest.raises(kind, match=words):
            adopt(lake, "people", *(f"landing/{name}.parquet" for name in names))
    assert lake.tree() == before
    assert lake.catalog.names() == []


@pytest.fixture(scope="module")
def traps(shared_lake: Lake) -> Lake:
    """Files where none may be taken from, and links."""
    lake = shared_lake
    for key in ("landing/a.parquet", "landing/day=1/a.parquet", "tables/main/a.parquet"):
        put(lake, key)
    outside = lake.root / "outside"
    outside.mkdir()
    (outside / "a.parquet").write_bytes(lake.store.read("landing/a.parquet"))
    (lake.store.root / "linked.parquet").symlink_to(outside / "a.parquet")
    (lake.store.root / "elsewhere").symlink_to(outside)
    return lake


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "from the warehouse on"),
        ("../catalog.db", "from the warehouse on"),
        ("landing/../landing/a.parquet", "from the warehouse on"),
        ("landing//a.parquet", "from the warehouse on"),
        ("landing/*.parquet", "letters, digits"),
        ("landing/a.parquet?s3_endpoint=x", "letters, digits"),
        ("landing/a b.parquet", "letters, digits"),
        ("vectors/a.parquet", "belongs to the server"),
        ("_catalog/a.parquet", "belongs to the server"),
        ("_tmp/a.parquet", "belongs to the server"),
        ("objects/a_o/b", "/v1/catalog/register"),
        ("tables/main/a.parquet", "maintenance deletes"),
        ("landing/day=1/a.parquet", "'day=1' is in the folder's name"),
        ("linked.parquet", "a link leads there"),
        ("elsewhere/a.parquet", "a link leads there"),
    ],
)
def test_a_path_that_is_not_plainly_in_the_warehouse_is_refused(
    traps: Lake, path: str, words: str
) -> None:
    with pytest.raises(NotAdoptableError, match=words):
        adopt(traps, "people", path)
    assert traps.catalog.names() == []


def test_a_request_says_one_thing(lake: Lake) -> None:
    for how in ({}, {"prefix": "a", "metadata": "b"}):
        with pytest.raises(InvalidInputError, match="say one of"):
            adopt(lake, "people", **how)
    with pytest.raises(NotAdoptableError, match="from the warehouse on"):
        adopt(lake, "people", prefix="")
    with pytest.raises(NothingToAdoptError, match=r"no file \*\.parquet"):
        adopt(lake, "people", prefix="nowhere")


def test_maintenance_and_purge_leave_adopted_files(lake: Lake) -> None:
    for name in "abcdefgh":
        put(lake, f"landing/{name}.parquet")
    adopt(lake, "people", prefix="landing")
    adopted = {key for key in lake.tree() if key.startswith("landing/")}
    lake.write("people", "SELECT 3 AS id, 'c' AS name", mode="overwrite")
    people = main("people")
    old = lake.catalog.snapshots(people)[-1].snapshot_id
    rules = rules_of(lake.metadata("people"), MaintenanceConfig())

    assert lake.catalog.layout.compactable(lake.catalog.load(people), rules, 2) == []
    assert lake.catalog.expiry.expire(people, [old]) == 1
    assert lake.catalog.expiry.delete(people).file_count > 0
    lake.catalog.orphans.remove(lake.cursor, -60)
    lake.catalog.purge(people)

    assert {key for key in lake.tree() if key.startswith("landing/")} == adopted
    assert not any(key.startswith("tables/") for key in lake.tree())


# Iceberg tables.


@pytest.fixture
def theirs(lake: Lake) -> Iterator[SqlCatalog]:
    with catalog_in(lake) as catalog:
        yield catalog


@contextmanager
def catalog_in(lake: Lake) -> Iterator[SqlCatalog]:
    """A catalog of somebody else, whose warehouse is a folder of ours."""
    uri = f"sqlite:///{lake.root / 'theirs.db'}"
    catalog = SqlCatalog("theirs", uri=uri, warehouse=lake.store.uri("spark"))
    try:
        catalog.create_namespace("sales")
        yield catalog
    finally:
        catalog.close()


def made(catalog: SqlCatalog, name: str = "people", **options: Any) -> PyIcebergTable:
    """Return a table of two snapshots, with a column whose name their files spell otherwise."""
    table = catalog.create_table(f"sales.{name}", SCHEMA, **options)
    for ids in ([1], [2, 3]):
        names = [f"n{number}" for number in ids]
        arrow = pa.table({"id": pa.array(ids, pa.int64()), "the name": names})
        table.append(arrow.cast(SCHEMA.as_arrow()))
    return table


def key_of(lake: Lake, table: PyIcebergTable) -> str:
    return lake.store.key(table.metadata_location)


def test_a_table_of_pyiceberg_is_adopted_with_its_history(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    before = {key: lake.store.read(key) for key in lake.tree()}
    first = table.snapshots()[0].snapshot_id

    found = adopt(lake, "people", metadata=key_of(lake, table))

    assert (found.row_count, found.uuid) == (3, str(table.metadata.table_uuid))
    assert lake.rows("people") == [(1, "n1"), (2, "n2"), (3, "n3")]
    assert lake.rows("people", first) == [(1, "n1")]
    lake.write("people", "SELECT 4 AS id, 'n4' AS \"the name\"", COLUMNS, mode="append")
    assert len(read(lake, "people")) == 4
    assert {key: lake.store.read(key) for key in before} == before
    lake.catalog.refs.rollback(main("people"), first)
    assert read(lake, "people") == [{"id": 1, "the name": "n1"}]
    evolve(lake, "people", Rename("the name", "who"))
    assert read(lake, "people") == [{"id": 1, "who": "n1"}]
    log = [each["metadata-file"] for each in lake.metadata("people")["metadata-log"]]
    assert table.metadata_location in log
    with lake.pyiceberg("people") as theirs_again:
        theirs_again.append(
            pa.table({"id": pa.array([9], pa.int64()), "who": ["n9"]}).cast(
                theirs_again.schema().as_arrow()
            )
        )
    assert len(read(lake, "people")) == 2


COLUMNS = {"id": "long", "the name": "string"}


def test_a_partitioned_table_is_adopted_and_goes_on_partitioned(
    lake: Lake, theirs: SqlCatalog
) -> None:
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "id"))
    table = made(theirs, partition_spec=spec)
    assert any("id=2" in key for key in lake.tree())
    assert adopt(lake, "people", metadata=key_of(lake, table)).partition_by == ["id"]
    lake.write("people", "SELECT 4 AS id, 'n4' AS \"the name\"", COLUMNS, mode="append")
    assert len(read(lake, "people")) == 4


def test_a_table_is_adopted_once(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    key = key_of(lake, table)
    adopt(lake, "people", metadata=key)
    before = lake.tree()
    with pytest.raises(TableExistsError):
        adopt(lake, "people", metadata=key)
    with pytest.raises(TableKnownError, match=r"is the table main\.people already"):
        adopt(lake, "again", metadata=key)
    with pytest.raises(PlaceTakenError, match=r"belongs to the table main\.people"):
        adopt(lake, "again", lake.data_files("people")[0])
    with pytest.raises(NotAdoptableError, match="an Iceberg table lies there"):
        adopt(lake, "again", prefix="spark")
    lake.catalog.drop(main("people"))
    with pytest.raises(TableKnownError, match=r"dropped table main\.people"):
        adopt(lake, "again", metadata=key)
    assert lake.tree() == before
    lake.catalog.undrop(main("people"))
    assert len(lake.rows("people")) == 3


def test_our_own_table_that_the_catalog_lost_is_adopted(lake: Lake) -> None:
    lake.write("people", "SELECT 1 AS id, 'a' AS name")
    key = lake.store.key(lake.catalog.load(main("people")).location)
    with pytest.raises(TableKnownError):
        adopt(lake, "back", metadata=key)
    lake.state.write(lambda tx: tx.execute("DELETE FROM iceberg_tables"))
    adopt(lake, "back", metadata=key)
    assert read(lake, "back") == [{"id": 1, "name": "a"}]


def test_a_state_that_the_table_is_past_is_not_adopted(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    stale = key_of(lake, table)
    table.append(
        pa.table({"id": pa.array([4], pa.int64()), "the name": ["n4"]}).cast(SCHEMA.as_arrow())
    )
    newest = key_of(lake, table)
    with pytest.raises(NotAdoptableError, match=f"{newest} follows it"):
        adopt(lake, "people", metadata=stale)
    lake.store.write(newest.replace("/00003-", "/00009-other-"), b"no metadata at all")
    adopt(lake, "people", metadata=newest)
    assert len(lake.rows("people")) == 4


def test_files_of_an_adopted_table_stay_where_it_lies(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    before = lake.tree()
    adopt(lake, "people", metadata=key_of(lake, table))
    name = main("people")
    lake.write("people", "SELECT 4 AS id, 'n4' AS \"the name\"", COLUMNS, mode="overwrite")
    with pytest.raises(ErasureRefusedError, match="registered or adopted"):
        lake.catalog.erasing.erase(lake.cursor, name, "id = 1")
    lake.catalog.expiry.expire(name, [table.snapshots()[0].snapshot_id])
    lake.catalog.expiry.delete(name)
    lake.catalog.orphans.remove(lake.cursor, -60)
    lake.catalog.purge(name)
    assert before <= lake.tree()


def test_position_deletes_are_read_and_equality_deletes_refused(
    lake: Lake, theirs: SqlCatalog
) -> None:
    table = made(theirs)
    key = plant_deletes(lake, table)
    adopt(lake, "people", metadata=key)
    assert lake.rows("people") == [(1, "n1"), (3, "n3")]
    other = made(theirs, "other")
    key = plant_deletes(lake, other, content=2)
    with pytest.raises(NotAdoptableError, match="equality deletes"):
        adopt(lake, "other", metadata=key)


def test_a_table_with_deletes_of_another_engine_is_not_compacted(
    lake: Lake, theirs: SqlCatalog
) -> None:
    table = made(theirs)
    adopt(lake, "people", metadata=plant_deletes(lake, table))
    for number in range(6):
        sql = f"SELECT {number + 10} AS id, 'n' AS \"the name\""
        lake.write("people", sql, COLUMNS, mode="append")
    before = lake.rows("people")
    rules = rules_of(lake.metadata("people"), MaintenanceConfig())
    with pytest.raises(NotRewritableError, match="files of deletes"):
        lake.catalog.layout.compact(lake.cursor, main("people"), rules, 2)
    assert lake.rows("people") == before


def test_a_column_of_fixed_size_is_read_and_nothing_is_written_beside_it(
    lake: Lake, theirs: SqlCatalog
) -> None:
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "code", FixedType(4)))
    table = theirs.create_table("sales.codes", schema)
    for id_ in (1, 2):
        rows = {"id": pa.array([id_], pa.int64()), "code": pa.array([b"abcd"], pa.binary(4))}
        table.append(pa.table(rows))
    adopt(lake, "codes", metadata=key_of(lake, table))
    assert lake.rows("codes") == [(1, b"abcd"), (2, b"abcd")]

    name, types = main("codes"), {"id": "long", "code": "binary"}
    changes: list[Callable[[], Any]] = [
        lambda: lake.write("codes", "SELECT 3 AS id, 'efgh'::BLOB AS code", types, mode="append"),
        lambda: lake.catalog.rows.delete(lake.cursor, name, "id = 1"),
        lambda: lake.catalog.rows.update(lake.cursor, name, {"id": "id + 10"}, "id = 1"),
    ]
    before = lake.tree()
    for each in changes:
        with pytest.raises(UnwritableTypeError, match=r"'code' .* type binary"):
            each()
    rules = rules_of(lake.metadata("codes"), MaintenanceConfig())
    with pytest.raises(NotRewritableError, match="'code'"):
        lake.catalog.layout.compact(lake.cursor, name, rules, 2)
    assert lake.tree() == before
    assert [row["id"] for row in read(lake, "codes")] == [1, 2]

    evolve(lake, "codes", Drop("code"))
    lake.write("codes", "SELECT 3 AS id", {"id": "long"}, mode="append")
    assert [row["id"] for row in read(lake, "codes")] == [1, 2, 3]


# Refusals.

Metadata = dict[str, Any]


def change(lake: Lake, table: PyIcebergTable, how: Callable[[Metadata], Any]) -> str:
    """Write a metadata file beside the table's own, with something changed, and return its key."""
    metadata = json.loads(lake.store.read(key_of(lake, table)))
    how(metadata)
    key = f"{key_of(lake, table).rpartition('/')[0]}/changed.metadata.json"
    lake.store.write(key, json.dumps(metadata).encode())
    return key


def plant_deletes(
    lake: Lake,
    table: PyIcebergTable,
    content: int = 1,
    *,
    snapshot_id: int = 77,
    position: int = 0,
) -> str:
    """Add a snapshot with a file of deletes for a row of a data file with two rows, by hand."""
    manifests = Manifests(lake.store)
    snapshot = table.current_snapshot()
    assert snapshot
    listed = manifests.read_list(snapshot.manifest_list)
    data = manifests.live_files(listed)
    victim = next(each for each in data if each.row_count == 2).location
    folder = table.location()
    file_place = f"{folder}/data/deletes-{snapshot_id}.parquet"
    key = lake.store.key(file_place)
    ids = ", FIELD_IDS {file_path: 2147483546, pos: 2147483545}"
    copy(lake, key, f"SELECT '{victim}' AS file_path, {position}::BIGINT AS pos", ids)
    metadata = json.loads(lake.store.read(key_of(lake, table)))
    file = NewFile(file_place, 1, lake.store.size(key) or 0)
    number = metadata["last-sequence-number"] + 1
    place, list_place = (f"{folder}/metadata/deletes{content}-{snapshot_id}-{n}.avro" for n in "ml")
    manifest = manifests.make_added(lake.store.write, place, metadata, snapshot_id, [file], number)

    def mark_file(record: Record, fields: Callable[..., Fields]) -> None:
        record[fields()[2]][fields(2)[134]] = content

    data_ = rewritten(lake.store.read(lake.store.key(place)), mark_file)
    lake.store.write(lake.store.key(place), data_)
    manifests.make_list(
        lake.store.write, list_place, snapshot_id, snapshot.snapshot_id, number, [manifest, *listed]
    )

    def mark_manifest(record: Record, fields: Callable[..., Fields]) -> None:
        if record[fields()[500]] == place:
            record[fields()[517]] = 1
            record[fields()[501]] = len(data_)

    key = lake.store.key(list_place)
    lake.store.write(key, rewritten(lake.store.read(key), mark_manifest))

    def add(metadata: Metadata) -> None:
        last = metadata["snapshots"][-1]
        at = last["timestamp-ms"] + 1
        metadata["snapshots"].append(
            {
                **last,
                "snapshot-id": snapshot_id,
                "parent-snapshot-id": last["snapshot-id"],
                "sequence-number": number,
                "timestamp-ms": at,
                "manifest-list": list_place,
                "summary": {**last["summary"], "operation": "delete"},
            }
        )
        metadata["last-sequence-number"] = number
        metadata["current-snapshot-id"] = snapshot_id
        metadata["refs"]["main"]["snapshot-id"] = snapshot_id
        metadata["snapshot-log"].append({"snapshot-id": snapshot_id, "timestamp-ms": at})

    return change(lake, table, add)


REFUSED: dict[str, tuple[Callable[[Metadata], Any], str]] = {
    "version 4": (lambda m: m.update({"format-version": 4}), "format version 4, not 1, 2 or 3"),
    "no location": (lambda m: m.pop("location"), "it lacks location"),
    "no list": (lambda m: m.update(snapshots={"a": 1}), "snapshots"),
    "another location": (
        lambda m: m.update(location=m["location"] + "x"),
        "its location is .*, and it lies at",
    ),
    "a plain path": (
        lambda m: m.update(location=m["location"].removeprefix("file://")),
        "its location is",
    ),
    "a list elsewhere": (
        lambda m: m["snapshots"][0].update({"manifest-list": "file:///etc/passwd"}),
        "no plain path below",
    ),
    "a list with a query": (
        lambda m: m["snapshots"][0].update(
            {"manifest-list": m["snapshots"][0]["manifest-list"] + "?s3_endpoint=h"}
        ),
        "no plain path below",
    ),
    "a list above": (
        lambda m: m["snapshots"][0].update({"manifest-list": m["location"] + "/../x"}),
        "no plain path below",
    ),
    "a data path elsewhere": (
        lambda m: m["properties"].update({"write.data.path": "file:///tmp/x"}),
        "no plain path below",
    ),
    "a log elsewhere": (
        lambda m: m["metadata-log"].append({"metadata-file": "file:///x", "timestamp-ms": 1}),
        "no plain path below",
    ),
    "statistics elsewhere": (
        lambda m: m.update(statistics=[{"snapshot-id": 1, "statistics-path": "file:///x"}]),
        "no plain path below",
    ),
    "a type that we have not": (
        lambda m: m["schemas"][0]["fields"][1].update(type="timestamp_ns"),
        "timestamp_ns",
    ),
    "a type that nobody has": (lambda m: m["schemas"][0]["fields"][1].update(type="x"), "x"),
    "names by case": (lambda m: m["schemas"][0]["fields"][1].update(name="ID"), "differs from"),
    "a transform": (
        lambda m: m["partition-specs"][0]["fields"].append(
            {"source-id": 1, "field-id": 1000, "name": "v", "transform": "zorder"}
        ),
        "partitioned by zorder",
    ),
    "a reference to nothing": (
        lambda m: m["refs"].update(t={"snapshot-id": 1, "type": "tag"}),
        "reference 't' is gone",
    ),
    "a snapshot before itself": (
        lambda m: m["snapshots"][0].update(
            {"parent-snapshot-id": m["snapshots"][1]["snapshot-id"]}
        ),
        "comes before itself",
    ),
    "a count that is none": (
        lambda m: m["snapshots"][0]["summary"].update({"total-records": "many"}),
        "'many'",
    ),
    "rows that are not there": (
        lambda m: m["snapshots"][1]["summary"].update({"total-records": "7"}),
        "has 7 rows, and its files have 3",
    ),
    "no summary": (lambda m: m["snapshots"][0].pop("summary"), "summary"),
    "when it was made": (
        lambda m: m["properties"].update({"lakehouse.created-at-ms": "x"}),
        "is no number",
    ),
    "names of columns that changed": (
        lambda m: (
            m["properties"].update({NAME_MAPPING: "[]"}),
            m["schemas"].append({**m["schemas"][0], "schema-id": 1}),
        ),
        "its columns were changed",
    ),
}


@pytest.fixture(scope="module")
def refused(shared_lake: Lake) -> Iterator[tuple[Lake, PyIcebergTable]]:
    with catalog_in(shared_lake) as catalog:
        yield shared_lake, made(catalog)


@pytest.mark.parametrize("what", REFUSED)
def test_metadata_that_we_could_not_go_on_with_is_refused(
    refused: tuple[Lake, PyIcebergTable], what: str
) -> None:
    lake, table = refused
    how, words = REFUSED[what]
    key = change(lake, table, how)
    before = lake.tree()
    with pytest.raises(NotAdoptableError, match=words):
        adopt(lake, "people", metadata=key)
    assert lake.tree() == before
    assert lake.catalog.names() == []


def test_a_manifest_that_names_another_file_is_refused(lake: Lake, theirs: SqlCatalog) -> None:
    put(lake, "landing/a.parquet")
    table = made(theirs)
    own = table.location()
    for path, words in {
        lake.store.uri("landing/a.parquet"): "no plain path below",
        f"{own}/data/*.parquet": "no plain path below",
        f"{own}/data/x?s3_endpoint=host": "no plain path below",
        f"{own}/data/../../../landing/a.parquet": "no plain path below",
        "file:///etc/passwd": "no plain path below",
        f"{own}/data/gone.parquet": "is gone",
    }.items():
        point(lake, table, path)
        with pytest.raises((NotAdoptableError, NothingToAdoptError), match=words):
            adopt(lake, "people", metadata=key_of(lake, table))
    assert lake.catalog.names() == []


def point(lake: Lake, table: PyIcebergTable, path: str) -> None:
    """Make the newest manifest of a table name `path`."""
    snapshot = table.current_snapshot()
    assert snapshot
    newest = next(
        each.manifest_path
        for each in snapshot.manifests(table.io)
        if each.added_snapshot_id == snapshot.snapshot_id
    )

    def name(record: Record, fields: Callable[..., Fields]) -> None:
        record[fields()[2]][fields(2)[100]] = path

    key = lake.store.key(newest)
    data = rewritten(lake.store.read(key), name)
    lake.store.write(key, data)

    def measure(record: Record, fields: Callable[..., Fields]) -> None:
        if record[fields()[500]] == newest:
            record[fields()[501]] = len(data)

    key = lake.store.key(snapshot.manifest_list)
    lake.store.write(key, rewritten(lake.store.read(key), measure))


def test_a_file_that_is_gone_or_another_is_refused(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    data = next(key for key in lake.tree() if key.endswith(".parquet"))
    original = lake.store.read(data)
    lake.store.write(data, original + b"x")
    with pytest.raises(NotAdoptableError, match="bytes, not the"):
        adopt(lake, "people", metadata=key_of(lake, table))
    lake.store.write(data, b"x" * len(original))
    with pytest.raises(NotAdoptableError, match="not a readable Parquet file"):
        adopt(lake, "people", metadata=key_of(lake, table))
    lake.store.delete(data)
    with pytest.raises(NothingToAdoptError, match=r"names spark/.*, which is gone"):
        adopt(lake, "people", metadata=key_of(lake, table))
    lake.store.write(data, original)
    list_ = lake.store.key(table.snapshots()[0].manifest_list)
    original = lake.store.read(list_)
    lake.store.write(list_, b"none")
    with pytest.raises(NotAdoptableError, match="cannot be read"):
        adopt(lake, "people", metadata=key_of(lake, table))
    lake.store.write(list_, original)
    adopt(lake, "people", metadata=key_of(lake, table))


def test_a_metadata_file_lies_in_its_table(lake: Lake, theirs: SqlCatalog) -> None:
    table = made(theirs)
    lake.store.write("x.metadata.json", lake.store.read(key_of(lake, table)))
    lake.store.write("a/metadata/x.metadata.json", lake.store.read(key_of(lake, table)))
    lake.store.write("a/metadata/y.metadata.json", b"\x1f\x8b no json")
    for key, words in {
        "x.metadata.json": "a metadata file is",
        "a/metadata/x.metadata.json": "its location is",
        "a/metadata/y.metadata.json": "cannot be adopted",
        str(Path("/etc/passwd")): "from the warehouse on",
    }.items():
        with pytest.raises(NotAdoptableError, match=words):
            adopt(lake, "people", metadata=key)
    with pytest.raises(NothingToAdoptError, match="no such file"):
        adopt(lake, "people", metadata="a/metadata/z.metadata.json")
