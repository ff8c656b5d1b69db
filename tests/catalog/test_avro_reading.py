"""Manifests and their lists are read as PyIceberg reads them, faster."""

import bz2
import io
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.manifest import ManifestFile, read_manifest_list

from lakehouse.catalog import avro_reading
from lakehouse.catalog.avro_reading import (
    InflatedTooLargeError,
    KnownFile,
    read_list,
    read_live_entries,
)
from lakehouse.catalog.byte_files import BytesInput
from lakehouse.catalog.errors import UnreadableFileError
from lakehouse.catalog.manifests import Manifests
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


MIB = 1024**2
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "null": lambda data: data,
    "deflate": lambda data: zlib.compress(data, wbits=-15),
    "bzip2": bz2.compress,
    "zstandard": zstandard.compress,
}


def compressed(whole: bytes, codec: str, *more: bytes) -> bytes:
    """Return an Avro file whose blocks are compressed with `codec`, and `more` blocks behind."""
    with KnownFile[ManifestFile](BytesInput("", whole), avro_reading.LISTED) as file:
        meta, sync = {**file.header.meta, "avro.codec": codec}, file.header.sync
        blocks = []
        while file.decoder.tell() != len(whole):
            blocks.append((file.decoder.read_int(), file.decoder.read_bytes()))
            file.decoder.read(16)
    target = io.BytesIO()
    encoder = BinaryEncoder(target)
    target.write(b"Obj\x01")
    encoder.write_int(len(meta))
    for key, value in meta.items():
        encoder.write_utf8(key)
        encoder.write_bytes(value.encode())
    encoder.write_int(0)
    target.write(sync)
    for count, block in [*blocks, *((1, each) for each in more)]:
        encoder.write_int(count)
        encoder.write_bytes(COMPRESS[codec](block))
        target.write(sync)
    return target.getvalue()


@pytest.mark.parametrize("codec", COMPRESS)
def test_a_list_is_read_whatever_it_is_compressed_with(lake: Lake, codec: str) -> None:
    changed_in_every_way(lake)
    whole = lake.store.read(lake.manifest_list("t"))

    found = read_list(BytesInput("", compressed(whole, codec)))

    assert [each._data for each in found] == [
        each._data for each in read_list(BytesInput("", whole))
    ]


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "zstandard"])
@pytest.mark.parametrize("blocks", [[64 * MIB], [MIB] * 64], ids=["one block", "many"])
def test_blocks_that_inflate_to_too_much_are_refused_before_they_are_there(
    lake: Lake, codec: str, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_in_every_way(lake)
    whole = lake.store.read(lake.manifest_list("t"))
    bomb = compressed(whole, codec, *(bytes(size) for size in blocks))
    monkeypatch.setattr(avro_reading, "INFLATED_MAX_BYTES", 8 * MIB)

    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLargeError, match="8,388,608 bytes"):
            read_list(BytesInput("", bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bomb) < MIB
    assert peak < 32 * MIB


@pytest.mark.parametrize("codec", ["deflate", "bzip2"])
def test_a_compressed_block_that_is_cut_short_is_told(
    lake: Lake, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_in_every_way(lake)
    whole = lake.store.read(lake.manifest_list("t"))
    compress = COMPRESS[codec]
    monkeypatch.setitem(COMPRESS, codec, lambda data: compress(data)[:-3])

    with pytest.raises(ValueError, match="cut short"):
        read_list(BytesInput("", compressed(whole, codec)))


def test_a_table_whose_list_is_a_bomb_says_so(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_in_every_way(lake)
    key = "bomb.avro"
    bomb = compressed(lake.store.read(lake.manifest_list("t")), "deflate", bytes(9 * MIB))
    lake.store.write(key, bomb)
    monkeypatch.setattr(avro_reading, "INFLATED_MAX_BYTES", 8 * MIB)

    with pytest.raises(UnreadableFileError, match=r"bomb\.avro .*inflates to more than"):
        Manifests(lake.store).read_list(lake.store.uri(key))
