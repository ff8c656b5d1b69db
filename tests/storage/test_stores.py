"""A warehouse is the same to the rest of the program, be it a directory or a bucket."""

import gc
import logging
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lakehouse.config import StorageConfig
from lakehouse.disk import Disk
from lakehouse.storage import (
    LocalObjects,
    LocalStore,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    S3Objects,
    S3Store,
    Store,
    open_warehouse,
)
from lakehouse.storage.errors import (
    InvalidKeyError,
    ObjectExistsError,
    StoreBusyError,
    StoreDownError,
)
from lakehouse.storage.object_store import Guard
from lakehouse.storage.places import object_key
from lakehouse.storage.s3_objects import key_of, name_of
from tests import object_store
from tests.services import free_port


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return LocalStore(tmp_path / "warehouse")
    config = object_store.settings(tmp_path)
    return open_warehouse(config, tmp_path, tmp_path).store


@pytest.fixture
def objects(store: Store, tmp_path: Path) -> ObjectStore:
    if isinstance(store, S3Store):
        return S3Objects(store, tmp_path, Disk(tmp_path))
    assert isinstance(store, LocalStore)
    return LocalObjects(store)


def unguarded(key: str, change: object) -> None:
    assert callable(change)
    change()


def put(objects: ObjectStore, key: str, data: bytes, guard: Guard = unguarded) -> ObjectInfo:
    upload = objects.begin(key, len(data))
    try:
        upload.write(data)
        return objects.put(upload, key, guard)
    finally:
        upload.discard()


def test_what_is_written_is_read_listed_and_removed(store: Store) -> None:
    store.write("tables/a/t/metadata/1.json", b"one")
    store.write("tables/a/t/data/p=1/2.parquet", b"three")
    store.write("tables/b/u/data/2.parquet", b"")

    assert store.read("tables/a/t/metadata/1.json") == b"one"
    assert store.size("tables/a/t/data/p=1/2.parquet") == 5
    assert store.exists("tables/b/u/data/2.parquet") and not store.exists("tables/b")
    assert sorted(store.keys("tables/a")) == [
        "tables/a/t/data/p=1/2.parquet",
        "tables/a/t/metadata/1.json",
    ]
    assert store.folders("tables", 2) == ["tables/a/t", "tables/b/u"]
    stored = {each.key: each for each in store.stored("tables/a/t/metadata")}
    assert stored["tables/a/t/metadata/1.json"].size_bytes == 3
    now_s = store.now_s()
    assert abs(stored["tables/a/t/metadata/1.json"].changed_at_s - now_s) < 60

    store.delete_folder("tables/a")
    store.delete("tables/b/u/data/2.parquet")
    store.delete("tables/b/u/data/2.parquet")  # it is not there any more

    assert not list(store.keys("tables"))


def test_what_is_not_there_is_named_as_it_was_asked_for(store: Store) -> None:
    for ask in (store.read, store.open):
        with pytest.raises(ObjectNotFoundError, match="'a/b'"):
            ask("a/b")
    assert store.size("a/b") is None


def test_a_key_is_created_once(store: Store) -> None:
    store.create("metadata/1.json", b"mine")

    with pytest.raises(ObjectExistsError):
        store.create("metadata/1.json", b"other")
    assert store.read("metadata/1.json") == b"mine"


def test_a_file_is_there_when_its_block_ends_and_not_when_it_fails(store: Store) -> None:
    with store.writing("a") as file:
        file.write(b"x" * 3_000_000)
    with pytest.raises(RuntimeError), store.writing("b") as file:
        file.write(b"x")
        raise RuntimeError

    assert store.size("a") == 3_000_000
    assert not store.exists("b")


def test_an_object_is_a_seekable_file(store: Store) -> None:
    store.write("a", bytes(range(256)) * 40)

    with store.open("a") as file:
        assert file.read(3) == b"\x00\x01\x02"
        file.seek(-2, 2)
        assert file.read() == b"\xfe\xff"
        file.seek(255)
        assert file.read(2) == b"\xff\x00"
        assert file.seek(0, 2) == 256 * 40
        assert file.read(5) == b""


@pytest.mark.parametrize(
    "rest",
    ["../x", "a/../../x", "x?s3_endpoint=example.org", "x#y", "a*b", "a[b"],
)
def test_no_location_from_outside_leads_elsewhere(rest: str, store: Store) -> None:
    with pytest.raises(ValueError, match=r"is not the (location|key) of"):
        store.key(f"{store.uri('')}/{rest}")
    with pytest.raises(ValueError, match="is not"):
        store.key("s3://other/prefix/x" if isinstance(store, LocalStore) else "file:///etc/passwd")


def test_a_location_becomes_its_key_again(store: Store) -> None:
    key = "tables/main/t-1a2b3c4d/data/p=1/0a.parquet"

    assert store.key(store.uri(key)) == key
    assert store.uri("") + "/" + key == store.uri(key)


def test_objects_are_put_read_replaced_listed_and_deleted(objects: ObjectStore) -> None:
    keys = ["a", "a/b", "a b", "a-", "a//b", "./x", "Z", "zz", "_", "é/ü", "a.b", "A", "~", "0"]
    for key in keys:
        put(objects, key, key.encode())
    old = objects.find("a")
    new = put(objects, "a", b"new")

    assert new.location != old.location and new.etag != old.etag
    info, file = objects.open("a")
    with file:
        assert file.read() == b"new" and info.size_bytes == 3
    by_bytes = sorted(keys, key=str.encode)
    assert [each.key for each in objects.list("", "", 100)[0]] == by_bytes
    first, more = objects.list("", "", 5)
    assert more and [each.key for each in first] == by_bytes[:5]
    assert [e.key for e in objects.list("", by_bytes[4], 100)[0]] == by_bytes[5:]
    assert [each.key for each in objects.list("a/", "", 100)[0]] == ["a//b", "a/b"]

    objects.delete("a", unguarded)

    with pytest.raises(ObjectNotFoundError):
        objects.find("a")
    assert objects.find("a/b").size_bytes == 3


def test_a_put_or_a_delete_that_the_guard_refuses_changes_nothing(
    objects: ObjectStore, store: Store
) -> None:
    before = put(objects, "a", b"old")

    def refusing(key: str, change: object) -> None:
        assert objects.find("a") == before  # what is about to be there is not seen yet
        raise PermissionError

    with pytest.raises(PermissionError):
        put(objects, "a", b"new", refusing)
    with pytest.raises(PermissionError):
        objects.delete("a", refusing)

    assert objects.find("a") == before
    assert len([key for key in store.keys("objects") if "/a" in key]) == 1


def test_where_an_object_lies_says_its_key(objects: ObjectStore, store: Store) -> None:
    for key in ("raw/a b.csv", "z", "-=_"):
        assert object_key(store.key(put(objects, key, b"x").location)) == key
    assert object_key("objects/what-ever/1") is object_key("tables/a/t/data/1.parquet") is None


@pytest.mark.parametrize("key", ["", "a/b c", "é", "zebra", "\x01", "😀/x"])
def test_names_in_a_bucket_are_keys_again_and_sort_like_them(key: str) -> None:
    assert key_of(name_of(key)) == key
    others = sorted([key, key + "/b", key + "0", key + "\x01", "zz", "A"], key=str.encode)
    assert sorted(others, key=lambda each: f"objects/{name_of(each)}-/") == others


def test_a_key_that_is_too_long_for_a_bucket_is_refused(tmp_path: Path) -> None:
    config = object_store.settings(tmp_path)
    objects = open_warehouse(config, tmp_path, tmp_path).objects

    with pytest.raises(InvalidKeyError, match="1024 is most"):
        objects.begin("é" * 400, 1)
    with pytest.raises(ObjectNotFoundError):
        objects.find("é" * 400)


def test_an_object_above_the_size_of_one_request_goes_up_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.needed()
    monkeypatch.setattr("lakehouse.storage.bucket.SINGLE_MAX_BYTES", 5 * 1024 * 1024)
    monkeypatch.setattr("lakehouse.storage.bucket.PART_BYTES", 5 * 1024 * 1024)
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(tmp_path, proxy.url)
        store = open_warehouse(config, tmp_path, tmp_path).store
        with store.writing("large") as file:
            file.write(b"0123456789" * 1_200_000)

        assert sorted(proxy.kinds()) == ["POST", "POST", "PUT", "PUT", "PUT"]
        assert store.size("large") == 12_000_000


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[object_store.Proxy, Store]]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(tmp_path, proxy.url)
        yield proxy, open_warehouse(config, tmp_path, tmp_path).store


@pytest.mark.parametrize("fault", [None, "SlowDown", "reset", "half"])
def test_an_error_keeps_nothing_that_its_callers_had(
    fault: str | None, proxied: tuple[object_store.Proxy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a table are kept by what a function holds, until it has ended."""
    proxy, store = proxied
    # pytest keeps what is logged, and the errors with it.
    monkeypatch.setattr(logging.getLogger("urllib3.connectionpool"), "disabled", True)

    def ask() -> "weakref.ReferenceType[set[int]]":
        held = {1}
        with suppress(StoreDownError, StoreBusyError):
            assert not store.exists("missing")
            list(store.keys("missing"))
        return weakref.ref(held)

    proxy.fault = lambda asked: fault
    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("fault", ["500", "503", "SlowDown", "delay", "reset", "reset-after"])
def test_a_fault_that_passes_is_not_told(
    fault: str, proxied: tuple[object_store.Proxy, Store]
) -> None:
    proxy, store = proxied
    left = [fault]
    proxy.fault = lambda asked: left.pop() if left else None

    store.create("metadata/1.json", b"new")
    left.append(fault)

    assert store.read("metadata/1.json") == b"new"
    assert not left


def test_an_answer_that_is_cut_short_is_read_on(
    proxied: tuple[object_store.Proxy, Store],
) -> None:
    proxy, store = proxied
    data = bytes(range(256)) * 4000
    store.write("a", data)
    left = ["truncate", "truncate"]
    proxy.fault = lambda asked: left.pop() if left and asked.method == "GET" else None

    assert store.read("a") == data
    assert not left


def test_a_store_that_is_down_is_said_and_what_to_do(tmp_path: Path) -> None:
    object_store.needed()
    config = object_store.settings(tmp_path, f"http://127.0.0.1:{free_port()}")
    store = open_warehouse(config, tmp_path, tmp_path).store

    with pytest.raises(StoreDownError, match=r"nobody listens there.*storage\.endpoint"):
        store.read("a")


@pytest.mark.parametrize("warehouse", [None, "s3://lake/prefix"])
def test_no_child_inherits_the_keys_of_the_environment(
    warehouse: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "planted")

    open_warehouse(StorageConfig(warehouse=warehouse), tmp_path, tmp_path)

    assert "planted" not in os.environ.values()
