"""Parquet objects of the storage API become rows of a dataset, by reference and once."""

import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.catalog import (
    Catalog,
    Column,
    EmptyTableError,
    InvalidNameError,
    SchemaDriftError,
    TableNotFoundError,
    UnsupportedTypeError,
    dataset_id,
    fingerprint,
)
from lakehouse.catalog.datasets import (
    Datasets,
    FingerprintConflictError,
    ObjectLookup,
    RowCountMismatchError,
    StoredObject,
)
from lakehouse.catalog.models import DatasetRegister, Manifest, ObjectReference
from lakehouse.catalog.parquet import NotParquetError
from lakehouse.errors import InvalidInputError, LakehouseError
from lakehouse.storage import LocalStore, ObjectNotFoundError
from tests.catalog.lake import Lake, main

PEOPLE = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", None]})


def lookup_in(store: LocalStore, keys: Mapping[str, str]) -> ObjectLookup:
    """Return what the storage module offers: `keys` maps a user's key to where it lies."""

    def get(key: str) -> StoredObject:
        at = keys.get(key)
        size = store.size(at) if at else None
        if at is None or size is None:
            raise ObjectNotFoundError(key)
        return StoredObject(key, store.uri(at), size)

    def open_(key: str) -> Any:
        return io.BytesIO(store.read(keys[key]))

    return ObjectLookup(get, open_, lambda keys: nullcontext(()))


class Bucket:
    """Objects under the keys that users gave them."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.keys: dict[str, str] = {}
        self.datasets = Datasets(lake.catalog, lake.state, lookup_in(lake.store, self.keys))

    def put(self, key: str, content: pa.Table | bytes) -> None:
        at = f"objects/o{len(self.keys)}.parquet"
        if isinstance(content, bytes):
            self.lake.store.write(at, content)
        else:
            with self.lake.store.writing(at) as file:
                pq.write_table(content, file)
        self.keys[key] = at

    def register(
        self, name: str, *keys: str, fingerprint: str = "f", row_count: int | None = None
    ) -> Manifest:
        objects = [ObjectReference(key) for key in keys]
        return self.datasets.register(DatasetRegister(name, fingerprint, objects, row_count))


@pytest.fixture
def bucket(lake: Lake) -> Bucket:
    return Bucket(lake)


def test_a_registered_object_is_read_at_once(lake: Lake, bucket: Bucket) -> None:
    bucket.put("2024/my file[1]*.parquet", PEOPLE)
    manifest = bucket.register("people", "2024/my file[1]*.parquet", row_count=2)
    assert not manifest.existing
    assert manifest.dataset_id == dataset_id("people")
    assert manifest.row_count == 2
    assert manifest.columns == [Column("id", "long"), Column("name", "string")]
    assert [each.key for each in manifest.objects] == ["2024/my file[1]*.parquet"]
    assert manifest.objects[0].size > 0
    assert lake.rows("people") == [(1, "a"), (2, None)]
    with lake.pyiceberg("people") as table:
        assert table.scan().to_arrow().to_pylist() == PEOPLE.to_pylist()
    assert abs((datetime.now(UTC) - manifest.created_at).total_seconds()) < 60


def test_registering_again_changes_nothing(lake: Lake, bucket: Bucket) -> None:
    bucket.put("a", PEOPLE)
    first = bucket.register("people", "a")
    before = lake.tree()
    again = bucket.register("people", "a", "a", row_count=99)
    assert again.existing and not first.existing
    assert (again.dataset_id, again.objects) == (first.dataset_id, first.objects)
    assert again.snapshot_id == first.snapshot_id
    assert lake.tree() == before
    assert lake.rows("people") == [(1, "a"), (2, None)]


def test_another_object_is_added_to_the_dataset(lake: Lake, bucket: Bucket) -> None:
    for key in "abc":
        bucket.put(key, PEOPLE)
    bucket.register("people", "a")
    manifest = bucket.register("people", "a", "b", "c")
    assert manifest.existing
    assert sorted(each.key for each in manifest.objects) == ["a", "b", "c"]
    assert manifest.row_count == 6
    assert len(lake.rows("people")) == 6
    assert bucket.datasets.manifest("PEOPLE") == manifest


def test_another_fingerprint_under_the_name_is_a_conflict(lake: Lake, bucket: Bucket) -> None:
    bucket.put("a", PEOPLE)
    bucket.register("people", "a", fingerprint="one")
    with pytest.raises(FingerprintConflictError, match="one"):
        bucket.register("People", "a", fingerprint="two")
    assert bucket.datasets.manifest("people").schema_fingerprint == "one"


def test_a_table_that_was_ingested_has_the_fingerprint_of_its_columns(
    lake: Lake, bucket: Bucket
) -> None:
    written = lake.write("people", "SELECT 1::BIGINT AS id, 'x' AS name")
    known = fingerprint(written.table.columns)
    assert bucket.datasets.manifest("people").schema_fingerprint == known
    bucket.put("a", PEOPLE)
    with pytest.raises(FingerprintConflictError):
        bucket.register("people", "a", fingerprint="other")
    manifest = bucket.register("people", "a", fingerprint=known)
    assert manifest.row_count == 3
    assert len(lake.rows("people")) == 3
    with lake.pyiceberg("people") as table:
        assert table.scan().to_arrow().num_rows == 3
    lake.write("people", "SELECT 5 AS id, 'z' AS name", mode="append")
    assert len(lake.rows("people")) == 4


@pytest.mark.parametrize("missing", [["gone"], ["a", "gone"]])
def test_a_missing_object_registers_nothing(lake: Lake, bucket: Bucket, missing: list[str]) -> None:
    bucket.put("a", PEOPLE)
    with pytest.raises(ObjectNotFoundError, match="gone"):
        bucket.register("people", *missing)
    with pytest.raises(TableNotFoundError):
        bucket.datasets.manifest("people")


def whole() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(PEOPLE, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"id,name\n1,a\n", whole()[:-20], whole()[: len(whole()) // 2], b"PAR1" * 50],
)
def test_what_is_no_parquet_file_is_refused_by_its_key(
    lake: Lake, bucket: Bucket, content: bytes
) -> None:
    bucket.put("my/bad one", content)
    with pytest.raises(NotParquetError, match="my/bad one"):
        bucket.register("people", "my/bad one")
    assert lake.catalog.names() == []


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1], pa.int8()),
        pa.array([1], pa.int16()),
        pa.array([1], pa.uint32()),
        pa.array([1], pa.uint64()),
        pa.array([1], pa.timestamp("ns")),
        pa.array([1], pa.timestamp("ms")),
        pa.array([1], pa.time32("ms")),
        pa.array([1.5], pa.float16()),
        pa.array([[1]], pa.list_(pa.uint8())),
        pa.array([{"a": 1}], pa.struct([("a", pa.timestamp("ns"))])),
    ],
    ids=lambda array: str(array.type),
)
def test_what_would_need_a_cast_is_refused_by_column(
    lake: Lake, bucket: Bucket, array: Any
) -> None:
    bucket.put("a", pa.table({"odd": array}))
    with pytest.raises(UnsupportedTypeError, match="'odd'"):
        bucket.register("people", "a")


EVERY = {
    "b": pa.array([True, None]),
    "i": pa.array([-5, None], pa.int32()),
    "l": pa.array([2**62, None], pa.int64()),
    "f": pa.array([1.5, None], pa.float32()),
    "d": pa.array([0.1, None], pa.float64()),
    "day": pa.array([-1, None], pa.date32()),
    "t": pa.array([5, None], pa.time64("us")),
    "at": pa.array([-1, None], pa.timestamp("us")),
    "atz": pa.array([-1, None], pa.timestamp("us", "UTC")),
    "s": pa.array(["ü🐘", None]),
    "bin": pa.array([b"\x00\xff", None]),
    "dec": pa.array([1, None], pa.decimal128(38, 4)),
    "ls": pa.array([["a", None], None], pa.list_(pa.string())),
    "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "st": pa.array([{"a b": 1, "c": [1.5]}, None]),
    'odd "name". [x]': pa.array([1, 2], pa.int64()),
}


def test_every_stored_type_is_read_alike_by_both(lake: Lake, bucket: Bucket) -> None:
    bucket.put("a", pa.table(EVERY))
    bucket.register("people", "a")
    with lake.pyiceberg("people") as table:
        theirs = table.scan().to_arrow()
    ours = lake.arrow("people")
    assert str(theirs.to_pylist()) == str(pa.table(EVERY).to_pylist())
    assert [[str(v) for v in row.values()] for row in ours.to_pylist()] == [
        [str(v) for v in row.values()] for row in theirs.to_pylist()
    ]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (pa.table({"id": pa.array([1], pa.int64())}), "name string is missing"),
        (PEOPLE.append_column("x", pa.array([1, 2])), "x long is not in the dataset"),
        (PEOPLE.rename_columns(["ID", "name"]), "id long is missing"),
        (pa.table({"id": ["1"], "name": ["a"]}), "id long is missing"),
    ],
)
def test_objects_that_differ_are_drift(
    lake: Lake, bucket: Bucket, other: pa.Table, words: str
) -> None:
    bucket.put("a", PEOPLE)
    bucket.put("b", other)
    with pytest.raises(SchemaDriftError, match=words) as caught:
        bucket.register("people", "a", "b")
    assert "b:" in caught.value.detail
    assert lake.catalog.names() == []
    bucket.register("people", "a")
    with pytest.raises(SchemaDriftError):
        bucket.register("people", "b")
    assert lake.rows("people") == [(1, "a"), (2, None)]


def test_columns_in_another_order_are_the_same_columns(lake: Lake, bucket: Bucket) -> None:
    bucket.put("a", PEOPLE)
    bucket.put("b", pa.table({"name": ["z"], "id": pa.array([9], pa.int64())}))
    bucket.register("people", "a", "b")
    assert lake.rows("people") == [(1, "a"), (2, None), (9, "z")]
    with lake.pyiceberg("people") as table:
        assert set(table.scan().to_arrow()["id"].to_pylist()) == {1, 2, 9}


def test_columns_that_differ_by_case_are_refused(bucket: Bucket) -> None:
    bucket.put("a", pa.table({"id": [1], "ID": [2]}))
    with pytest.raises(InvalidNameError, match="by case"):
        bucket.register("people", "a")


def test_a_wrong_row_count_is_refused(lake: Lake, bucket: Bucket) -> None:
    bucket.put("a", PEOPLE)
    with pytest.raises(RowCountMismatchError, match=r"3.*2 rows"):
        bucket.register("people", "a", row_count=3)
    assert lake.catalog.names() == []


def test_without_objects_a_dataset_has_no_columns_yet(lake: Lake, bucket: Bucket) -> None:
    first = bucket.register("people", row_count=7)
    assert (first.existing, first.row_count, first.objects, first.columns) == (False, 7, [], [])
    assert bucket.register("people").existing
    with pytest.raises(EmptyTableError):
        lake.rows("people")
    bucket.put("a", PEOPLE)
    assert bucket.register("people", "a").row_count == 2
    assert lake.rows("people") == [(1, "a"), (2, None)]


def test_an_ingest_sets_the_columns_of_a_dataset_without(lake: Lake, bucket: Bucket) -> None:
    bucket.register("people", fingerprint="kept")
    lake.write("people", "SELECT 1 AS id, 'a' AS name")
    manifest = bucket.datasets.manifest("people")
    assert (manifest.schema_fingerprint, manifest.row_count) == ("kept", 1)
    assert lake.rows("people") == [(1, "a")]


def test_an_object_with_the_field_ids_of_another_table_is_refused(
    lake: Lake, bucket: Bucket
) -> None:
    lake.write("other", "SELECT 1 AS id, 'a' AS name")
    bucket.put("a", lake.store.read(lake.data_files("other")[0]))
    with pytest.raises(InvalidInputError, match="field ids"):
        bucket.register("people", "a")


def test_a_partitioned_table_takes_no_objects(lake: Lake, bucket: Bucket) -> None:
    written = lake.write("people", "SELECT 1 AS id, 'a' AS name", partition_by=["id"])
    bucket.put("a", PEOPLE)
    with pytest.raises(InvalidInputError, match="partitioned"):
        bucket.register("people", "a", fingerprint=fingerprint(written.table.columns))


def test_fifty_racing_registers_make_one_dataset(lake: Lake, bucket: Bucket) -> None:
    for number in range(5):
        bucket.put(f"k{number}", PEOPLE)

    def register(number: int) -> Manifest:
        return bucket.register("people", f"k{number % 5}")

    with ThreadPoolExecutor(16) as pool:
        manifests = list(pool.map(register, range(50)))
    assert {each.dataset_id for each in manifests} == {dataset_id("people")}
    assert sum(not each.existing for each in manifests) == 1
    assert len(lake.catalog.names()) == 1
    final = bucket.datasets.manifest("people")
    assert sorted(each.key for each in final.objects) == [f"k{number}" for number in range(5)]
    assert final.row_count == 10
    assert len(lake.rows("people")) == 10
    assert len(lake.metadata("people")["snapshots"]) == 5


def test_an_object_replaced_meanwhile_is_not_registered(lake: Lake) -> None:
    keys: dict[str, str] = {}
    bucket = Bucket(lake)
    bucket.keys = keys
    honest = lookup_in(lake.store, keys)
    lookup = ObjectLookup(honest.get, honest.open, lambda keys: nullcontext({"a"}))
    bucket.datasets = Datasets(lake.catalog, lake.state, lookup)
    bucket.put("a", PEOPLE)
    with pytest.raises(LakehouseError, match="replaced meanwhile"):
        bucket.register("people", "a")
    assert lake.catalog.names() == []
    assert {key.partition("/")[0] for key in lake.tree()} == {"objects"}


def registered(lake: Lake) -> list[tuple[str, str]]:
    sql = "SELECT object_key, dataset FROM registered_object ORDER BY 1"
    rows: list[tuple[str, str]] = lake.state.read(lambda tx: tx.execute(sql).fetchall())
    return rows


def test_what_a_dataset_holds_follows_its_name_until_it_is_purged(
    lake: Lake, bucket: Bucket
) -> None:
    bucket.put("a", PEOPLE)
    bucket.register("people", "a")
    assert registered(lake) == [("a", "main.people")]
    lake.catalog.rename(main("people"), main("folk"))
    assert registered(lake) == [("a", "main.folk")]
    assert [each.key for each in bucket.datasets.manifest("folk").objects] == ["a"]
    lake.catalog.drop(main("folk"))
    assert registered(lake) == [("a", "main.folk")], "it can still be brought back"
    lake.catalog.purge(main("folk"))
    assert registered(lake) == []
    assert bucket.keys["a"] in lake.tree(), "the object belongs to its user"


def test_a_dropped_dataset_comes_back_with_its_objects_under_a_new_name(
    lake: Lake, bucket: Bucket
) -> None:
    for key in "ab":
        bucket.put(key, PEOPLE)
    bucket.register("people", "a")
    lake.catalog.drop(main("people"))
    bucket.register("people", "b")
    lake.catalog.rename(main("people"), main("others"))
    assert registered(lake) == [("a", "main.people"), ("b", "main.others")]
    lake.catalog.undrop(main("people"), to=main("folk"))
    assert registered(lake) == [("a", "main.folk"), ("b", "main.others")]
    assert [each.key for each in bucket.datasets.manifest("folk").objects] == ["a"]
    assert lake.rows("folk") == [(1, "a"), (2, None)]


def test_datasets_are_listed(lake: Lake, bucket: Bucket) -> None:
    assert bucket.datasets.list() == []
    bucket.put("a", PEOPLE)
    bucket.register("b", "a")
    bucket.register("a")
    lake.write("c", "SELECT 1 AS id, 'x' AS name")
    assert [each.name for each in bucket.datasets.list()] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["", "a/b", "x" * 256, "e\u0301"])
def test_a_name_that_cannot_be_is_refused(bucket: Bucket, name: str) -> None:
    with pytest.raises(InvalidNameError):
        bucket.register(name)


def test_a_dataset_whose_object_or_metadata_is_gone_hides_no_other(
    lake: Lake, bucket: Bucket
) -> None:
    for name in ("whole", "without_object", "without_metadata"):
        bucket.put(f"{name}.parquet", PEOPLE)
        bucket.register(name, f"{name}.parquet")
    lake.store.delete(bucket.keys["without_object.parquet"])
    lake.store.delete(lake.store.key(lake.catalog.load(main("without_metadata")).location))
    started_again = Catalog(lake.state, lake.store)

    listed = Datasets(started_again, lake.state, lookup_in(lake.store, bucket.keys)).list()

    assert [each.name for each in listed] == ["whole", "without_object"]


def test_many_registered_objects_are_scanned_by_name(lake: Lake, bucket: Bucket) -> None:
    for number in range(70):
        table = pa.table({"id": pa.array([number], pa.int64()), "name": [f"n{number}"]})
        bucket.put(f"k{number:02}", table.select(["name", "id"]) if number % 2 else table)
    bucket.register("people", *bucket.keys)
    assert lake.rows("people") == sorted(((n, f"n{n}") for n in range(70)), key=repr)
    assert lake.arrow("people", where="id = 7").to_pylist() == [{"id": 7, "name": "n7"}]


def test_the_id_of_a_dataset_is_the_same_on_every_host() -> None:
    assert dataset_id("people") == "54eb9062-488a-5c80-9ade-2bd63f8dc68c"
    assert dataset_id("people") != dataset_id("People")


def test_the_fingerprint_is_over_names_and_types_in_order() -> None:
    one, two = Column("a", "long"), Column("b", "string")
    assert fingerprint([one, two]) != fingerprint([two, one])
    expected = hashlib.sha256(b"a\x1flong\x1eb\x1fstring").hexdigest()
    assert fingerprint([one, two]) == expected
