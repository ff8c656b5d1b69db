"""Manifests and their lists are read as PyIceberg reads them, faster."""

from contextlib import suppress

import pytest
from pyiceberg.manifest import ManifestFile, read_manifest_list

from lakehouse.catalog.avro_reading import read_list, read_live_entries
from lakehouse.catalog.byte_files import BytesInput
from lakehouse.catalog.schema_models import Add, Rename
from tests.catalog.evolved import evolve
from tests.catalog.lake import Lake, main


class Files:
    """The store, as PyIceberg's own functions ask for it."""

    def __init__(self, lake: Lake) -> None:
        self._store = lake.store

    def new_input(self, location: str) -> BytesInput:
        return BytesInput(location, self._store.read(self._store.key(location)))


def changed_in_every_way(lake: Lake) -> None:
    """Make a table with partitions, files that left, and columns that came and were renamed."""
    three = "SELECT i AS id, chr(97 + i::INT) AS name FROM range(3) AS r(i)"
    lake.write("t", three, partition_by=["bucket(2, id)", "name"])
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 1")
    evolve(lake, "t", Add("cost", "decimal(9,2)"))
    evolve(lake, "t", Rename("name", "word"))
    columns = {"id": "long", "word": "string", "cost": "decimal(9,2)"}
    lake.write("t", "SELECT 7 AS id, NULL AS word, 1.5 AS cost", columns, "append")


def test_what_is_read_is_what_pyiceberg_reads(lake: Lake) -> None:
    changed_in_every_way(lake)
    files = Files(lake)
    manifest_list = files.new_input(lake.store.uri(lake.manifest_list("t")))

    listed = read_list(manifest_list)

    assert [each._data for each in listed] == [e._data for e in read_manifest_list(manifest_list)]
    assert len(listed) == 2, "one of files that stay, one of new ones"
    for each in listed:
        assert_entries_are_equal(each, files)


def assert_entries_are_equal(manifest: ManifestFile, files: Files) -> None:
    expected = manifest.fetch_manifest_entry(files)  # type: ignore[arg-type]
    found = read_live_entries(manifest, files.new_input(manifest.manifest_path))
    assert list(found) == expected
    assert [each.data_file.spec_id for each in found] == [e.data_file.spec_id for e in expected]


def test_wherever_a_manifest_ends_too_soon_it_is_told(lake: Lake) -> None:
    changed_in_every_way(lake)
    files = Files(lake)
    (manifest, _) = read_list(files.new_input(lake.store.uri(lake.manifest_list("t"))))
    whole = lake.store.read(lake.store.key(manifest.manifest_path))

    for length in range(len(whole)):
        with pytest.raises(Exception) as raised:
            read_live_entries(manifest, BytesInput("", whole[:length]))
        assert not isinstance(raised.value, (MemoryError, RecursionError))


def test_a_list_that_ends_too_soon_is_told_but_for_one_that_looks_empty(lake: Lake) -> None:
    changed_in_every_way(lake)
    whole = lake.store.read(lake.manifest_list("t"))
    read = []

    for length in range(len(whole)):
        with suppress(Exception):
            read.append(read_list(BytesInput("", whole[:length])))

    assert read == [()], "a header alone is an Avro file without records"
