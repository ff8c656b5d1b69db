"""Copies of what never changes: bounded, whole or none, and gone when the object is."""

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lakehouse.app import refuse_other
from lakehouse.config import Config, StorageConfig
from lakehouse.disk import Disk
from lakehouse.state import DataDirectory
from lakehouse.storage import WarehouseOwnedError
from lakehouse.storage.disk_cache import HASH_BYTES, UNFINISHED, DiskCache
from lakehouse.storage.s3 import S3Store
from lakehouse.storage.warehouse import open_warehouse
from tests import object_store
from tests.object_store import Asked, Proxy
from tests.services import environment

PLACE = "s3://lake/one"
HUGE = 1 << 60
FOLDER = "tables/main/t-00000000"
KEY = f"{FOLDER}/metadata/a.avro"
FOR_EVER = """
import sys
from pathlib import Path
from lakehouse.app import refuse_other
from lakehouse.config import Config, StorageConfig
from lakehouse.disk import Disk
from lakehouse.state import DataDirectory
from lakehouse.storage import WarehouseOwnedError
from lakehouse.storage.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), "s3://lake/one", 1 << 20, Disk(Path(sys.argv[1]).parent, 0))
for number in range(10**9):
    if number == 200:
        print("began", flush=True)
    key = f"{number % 40}/metadata/{number % 7}.avro"
    cache.put(key, f"{key} ".encode() * 2_000)
    cache.get(f"{number % 31}/metadata/{number % 7}.avro")
    with cache.leaving(f"{number % 29}", is_folder=True):
        pass
"""


def cache_in(folder: Path, max_bytes: int = 1 << 20, place: str = PLACE) -> DiskCache:
    return DiskCache(folder / "cache", place, max_bytes, Disk(folder, 0))


def files_in(folder: Path) -> list[Path]:
    return [each for each in (folder / "cache").rglob("*") if each.is_file()]


def test_the_least_recently_used_leaves_first_over_a_restart_too(tmp_path: Path) -> None:
    size = HASH_BYTES + 100
    cache = cache_in(tmp_path, 3 * size)
    for name in ("a", "b", "c"):
        cache.put(name, name.encode() * 100)
        time.sleep(0.01)  # the clock of the file system
    assert cache.get("a") == b"a" * 100

    again = cache_in(tmp_path, 3 * size)
    assert again.total_bytes == 3 * size
    again.put("d", b"d" * 100)

    assert again.get("b") is None
    assert [again.get(name) for name in ("a", "c", "d")] == [b"a" * 100, b"c" * 100, b"d" * 100]
    smaller = cache_in(tmp_path, size)
    assert smaller.total_bytes == size and smaller.get("d") == b"d" * 100
    smaller.put("large", b"x" * 101)
    assert smaller.get("large") is None and smaller.get("d") is not None


def test_what_is_not_what_was_written_is_none(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    for name in ("short", "changed", "empty", "whole"):
        cache.put(name, name.encode() * 100)
    paths = {path.name: path for path in files_in(tmp_path)}
    paths["short"].write_bytes(paths["short"].read_bytes()[:-1])
    paths["changed"].write_bytes(paths["changed"].read_bytes()[:-1] + b"x")
    paths["empty"].write_bytes(b"")
    again = cache_in(tmp_path)

    found = {name: again.get(name) for name in paths}

    assert found == {"short": None, "changed": None, "empty": None, "whole": b"whole" * 100}
    assert [path.name for path in files_in(tmp_path)] == ["whole"]


def test_copies_of_another_warehouse_and_what_was_being_written_are_removed(
    tmp_path: Path,
) -> None:
    cache_in(tmp_path, place="s3://lake/other").put(KEY, b"planted")
    (tmp_path / "cache" / UNFINISHED / "0123").write_bytes(b"planted")

    cache = cache_in(tmp_path)

    assert cache.get(KEY) is None
    assert files_in(tmp_path) == []


def test_a_full_disk_costs_the_copies_and_nothing_else(tmp_path: Path) -> None:
    cache_in(tmp_path).put("a", b"a")
    full = DiskCache(tmp_path / "cache", PLACE, 1 << 20, Disk(tmp_path, HUGE))
    assert full.get("a") == b"a"

    full.put("b", b"b")

    assert full.get("a") is None and full.get("b") is None
    assert full.total_bytes == 0 and files_in(tmp_path) == []


def test_a_write_that_ends_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.put("a", b"a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        cache.put("b", b"b" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert cache.get("b") is None and files_in(tmp_path) == []
    cache.put("b", b"b" * 10_000)
    assert cache.get("b") == b"b" * 10_000


@pytest.mark.parametrize("after_s", [0.06, 0.1, 0.15, 0.21])
def test_a_kill_leaves_whole_copies(after_s: float, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    process = subprocess.Popen(
        [sys.executable, "-c", FOR_EVER, str(folder)], env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as said:
        said.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()

    cache = cache_in(tmp_path)

    there = [path for path in folder.rglob("*.avro") if path.is_file()]
    assert there and not any((folder / UNFINISHED).iterdir())
    assert cache.total_bytes == sum(path.stat().st_size for path in there) <= 1 << 20
    for path in there:
        key = "/".join(path.parts[-3:])
        assert cache.get(key) == f"{key} ".encode() * 2_000


def test_what_leaves_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    asked_at = cache.now()
    with cache.leaving(KEY):
        during = cache.now()
    cache.put(KEY, b"planted", asked_at)
    assert cache.get(KEY) is None
    with cache.leaving(KEY):
        cache.put(KEY, b"planted", during)
    assert cache.get(KEY) is None

    cache.put(KEY, b"planted", cache.now())
    assert cache.get(KEY) == b"planted"
    with cache.leaving(FOLDER, is_folder=True):
        assert cache.get(KEY) is None
    assert files_in(tmp_path) == []


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Proxy, S3Store]]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        yield proxy, opened(tmp_path, proxy, object_store.settings(tmp_path).warehouse)


def opened(folder: Path, proxy: Proxy, warehouse: str | None) -> S3Store:
    prefix = str(warehouse).partition(f"//{object_store.BUCKET}/")[2]
    config = object_store.settings(folder, proxy.url, prefix)
    store = open_warehouse(config, folder, folder, cache=folder / "cache").store
    assert isinstance(store, S3Store)
    return store


def test_metadata_is_read_from_the_disk_and_nothing_else_is(
    proxied: tuple[Proxy, S3Store], tmp_path: Path
) -> None:
    proxy, store = proxied
    theirs = f"{FOLDER}/metadata/b.metadata.json"
    others = [f"{FOLDER}/data/a.parquet", "_catalog/owner", "landing/metadata/a.avro"]
    for key in (KEY, *others):
        store.write(key, key.encode())
    store.bucket.put(store.name(theirs), b"by another engine")
    assert store.read(theirs) == b"by another engine"
    store.create(f"{FOLDER}/metadata/c.metadata.json", b"c")
    proxy.asked.clear()

    again = opened(tmp_path, proxy, store.place)

    assert [again.read(KEY), again.read(theirs)] == [KEY.encode(), b"by another engine"]
    assert again.read(f"{FOLDER}/metadata/c.metadata.json") == b"c"
    assert proxy.asked == []
    for key in others:
        assert again.read(key) == key.encode()
    assert proxy.kinds() == ["GET"] * len(others)
    again.delete(KEY)
    again.delete_folder(FOLDER)
    assert files_in(tmp_path) == []


def test_what_is_not_the_object_by_its_etag_is_not_kept(
    proxied: tuple[Proxy, S3Store], tmp_path: Path
) -> None:
    proxy, store = proxied
    store.bucket.put(store.name(KEY), b"0123456789")
    proxy.fault = lambda asked: "garble"
    assert store.read(KEY) == b"9876543210"
    proxy.fault = lambda asked: None

    assert files_in(tmp_path) == []
    assert store.read(KEY) == b"0123456789"
    assert len(files_in(tmp_path)) == 1


def test_a_read_that_began_before_a_delete_keeps_no_copy(
    proxied: tuple[Proxy, S3Store], tmp_path: Path
) -> None:
    proxy, store = proxied
    store.bucket.put(store.name(KEY), b"planted")
    has_asked = threading.Event()

    def fault(asked: Asked) -> str | None:
        if asked.method == "GET":
            has_asked.set()
            return "delay-after"
        return None

    proxy.fault = fault
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(store.read(KEY)))
    reader.start()
    assert has_asked.wait(10)
    time.sleep(0.1)
    store.delete(KEY)
    assert reader.is_alive()
    reader.join()

    assert found == [b"planted"]
    assert files_in(tmp_path) == []


def test_without_a_bound_no_folder_is_made(tmp_path: Path) -> None:
    object_store.needed()
    config = msgspec.structs.replace(object_store.settings(tmp_path), cache_max_bytes=0)
    store = open_warehouse(config, tmp_path, tmp_path, cache=tmp_path / "cache").store
    store.write(KEY, b"x")

    assert store.read(KEY) == b"x"
    assert not (tmp_path / "cache").exists()


def test_a_host_that_lost_its_bucket_keeps_no_copies_of_it(tmp_path: Path) -> None:
    object_store.needed()
    config = object_store.settings(tmp_path / "keys")
    with DataDirectory.open(tmp_path / "data") as directory:
        ours = open_warehouse(config, tmp_path, directory.spool, cache=directory.cache)
        refuse_other(ours, Config(storage=config), directory)
        ours.store.write(KEY, b"x")
        refuse_other(ours, Config(storage=config), directory)
        assert list(directory.cache.rglob("*.avro")) != [], "it is ours"

        ours.take("another data directory")
        with pytest.raises(WarehouseOwnedError):
            refuse_other(ours, Config(storage=config), directory)
        assert not directory.cache.exists()


def test_nor_does_one_that_has_its_warehouse_on_the_disk_now(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "data") as directory:
        (directory.cache / "of a bucket").mkdir(parents=True)
        there = open_warehouse(StorageConfig(), directory.warehouse, directory.spool)
        refuse_other(there, Config(), directory)
        assert not directory.cache.exists()
