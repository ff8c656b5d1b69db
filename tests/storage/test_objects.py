"""Objects under hostile conditions: streams that fail, many at once, a catalog that registers."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse.disk import DiskFullError
from lakehouse.errors import ConflictError
from lakehouse.state import State, Transaction
from lakehouse.storage import (
    InvalidKeyError,
    LocalObjects,
    LocalStore,
    ObjectInfo,
    ObjectNotFoundError,
    Objects,
)
from lakehouse.storage.errors import ObjectRegisteredError
from lakehouse.storage.object_store import Guard
from tests.storage.test_keys import allowed

THREADS = 50


def unguarded(key: str, change: Callable[[], None]) -> None:
    change()


def put(local: LocalObjects, key: str, data: bytes, guard: Guard = unguarded) -> ObjectInfo:
    upload = local.begin(key, len(data))
    try:
        upload.write(data)
        return local.put(upload, key, guard)
    finally:
        upload.discard()


def get(local: LocalObjects, key: str) -> bytes:
    _, file = local.open(key)
    with file:
        return file.read()


def everything(local: LocalObjects) -> list[str]:
    found, more = local.list("", "", 100_000)
    assert not more
    return [each.key for each in found]


def left_over(store: LocalStore) -> list[str]:
    always = {store.root / "objects", store.root / "_tmp"}
    return [str(path) for path in store.root.rglob("*") if path not in always]


async def stream(*pieces: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if error:
        raise error


async def test_a_stream_that_fails_leaves_nothing_and_the_old_object(
    objects: Objects, local: LocalObjects, store: LocalStore
) -> None:
    with pytest.raises(RuntimeError):
        await objects.put("new/key", stream(b"x" * 2_000_000, error=RuntimeError()))
    assert left_over(store) == []

    await objects.put("old", stream(b"old"))
    with pytest.raises(RuntimeError):
        await objects.put("old", stream(b"new", error=RuntimeError()))
    assert get(local, "old") == b"old"
    assert not list((store.root / "_tmp").iterdir())


async def test_a_put_that_is_cancelled_leaves_nothing(objects: Objects, store: LocalStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await anyio.sleep(0.001)

    with anyio.move_on_after(0.1):
        await objects.put("a", endless())

    assert left_over(store) == []


async def test_a_download_goes_on_with_the_bytes_it_began_with(objects: Objects) -> None:
    await objects.put("a", stream(b"1" * 1_000_000))
    found = await objects.get("a")
    pieces = found.pieces(0, found.info.size_bytes)
    first = await anext(pieces)

    await objects.put("a", stream(b"2" * 1_000_000))
    await objects.delete("a")

    rest = b"".join([piece async for piece in pieces])
    found.close()
    assert first + rest == b"1" * 1_000_000


def test_an_object_that_announces_more_than_the_disk_has_is_refused_at_once(
    local: LocalObjects, store: LocalStore
) -> None:
    with pytest.raises(DiskFullError):
        local.begin("a", 1 << 60)

    assert left_over(store) == []


def test_each_put_lies_somewhere_else_so_no_cache_is_stale(
    local: LocalObjects, store: LocalStore
) -> None:
    first = put(local, "a", b"1")
    second = put(local, "a", b"2")

    assert first.location != second.location
    assert first.etag != second.etag
    assert store.read(store.key(second.location)) == b"2"
    assert local.find("a") == second
    assert not store.exists(store.key(first.location))


def test_a_put_that_was_killed_half_way_through_is_mended_by_the_next(
    local: LocalObjects, store: LocalStore
) -> None:
    old = put(local, "a", b"old")
    path = store.root / store.key(old.location)
    put(local, "a", b"new")
    path.write_bytes(b"old")  # killed after the rename: both versions are there

    assert get(local, "a") == b"new"
    assert everything(local) == ["a"]
    put(local, "a", b"newer")
    assert not path.exists()
    assert get(local, "a") == b"newer"


def test_a_clock_that_went_back_does_not_bring_back_the_old_object(
    local: LocalObjects, store: LocalStore
) -> None:
    info = put(local, "a", b"from the future")
    path = store.root / store.key(info.location)
    path.rename(path.with_name("f000000000000000-00000000"))

    put(local, "a", b"now")

    assert get(local, "a") == b"now"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    keys=st.lists(
        st.one_of(
            st.text(alphabet="a/!0", min_size=1, max_size=6),
            st.builds(lambda tail: "x" * 80 + tail, st.text(alphabet="!/0", max_size=2)),
        ).filter(allowed),
        max_size=15,
        unique=True,
    ),
    prefix=st.text(alphabet="a/!0", max_size=3),
    limit=st.integers(1, 5),
)
def test_any_list_in_any_pages_is_the_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], prefix: str, limit: int
) -> None:
    local = LocalObjects(LocalStore(tmp_path_factory.mktemp("list")))
    for key in keys:
        put(local, key, b"")

    found: list[str] = []
    more = True
    while more:
        page, more = local.list(prefix, found[-1] if found else "", limit)
        found += [each.key for each in page]

    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert found == expected


def test_a_folder_larger_than_a_page_is_listed_in_order(local: LocalObjects) -> None:
    names = [f"{number:03}" for number in range(200)]
    random.Random(1).shuffle(names)
    for name in names:
        put(local, f"d/{name}", b"")

    page, more = local.list("d/", "d/099", 7)
    assert ([each.key for each in page], more) == ([f"d/{n}" for n in range(100, 107)], True)
    assert everything(local) == [f"d/{name}" for name in sorted(names)]


def test_what_somebody_else_put_there_is_no_object(local: LocalObjects, store: LocalStore) -> None:
    put(local, "a", b"")
    root = store.root / "objects"
    for name in ("_FF_o", "B_o", ".hidden_o", "lost+found"):
        (root / name).mkdir()
        (root / name / "0000000000000001-00000000").write_bytes(b"")
    (root / "B_o" / "0000000000000001-00000000").rename(root / "B_o" / ".nfs0001")
    (root / "file_o").write_bytes(b"")

    assert everything(local) == ["a"]


def test_a_folder_that_is_emptied_of_objects_meanwhile_is_read_on(
    local: LocalObjects, store: LocalStore
) -> None:
    for number in range(10):
        put(local, f"{number}", b"")
    for number in range(8):  # folders whose objects are just going
        info = local.find(f"{number}")
        (store.root / store.key(info.location)).unlink()

    page, more = local.list("", "", 1)

    assert ([each.key for each in page], more) == (["8"], True)


def test_fifty_threads_on_the_same_folders_lose_nothing(
    local: LocalObjects, store: LocalStore
) -> None:
    """Puts make the folders that deletes remove: each put must find its object afterwards."""
    failures: list[str] = []

    def work(number: int) -> None:
        rng = random.Random(number)
        own = f"shared/deep/{number % 5}/{number}"
        for turn in range(4):
            data = f"{number}:{turn}".encode()
            put(local, own, data)
            if get(local, own) != data:
                failures.append(f"{own} lost {data!r}")
            put(local, "shared/one", data)
            local.list("shared", "", 3)
            if rng.random() < 0.7:
                local.delete(own, unguarded)
                try:
                    get(local, own)
                    failures.append(f"{own} is still there")
                except ObjectNotFoundError:
                    pass
        local.delete(own, unguarded)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))

    assert failures == []
    assert everything(local) == ["shared/one"]
    local.delete("shared/one", unguarded)
    assert left_over(store) == []


def test_readers_never_miss_an_object_that_is_being_replaced(local: LocalObjects) -> None:
    put(local, "a", b"0" * 1000)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            try:
                data = get(local, "a")
                if len(set(data)) != 1 or len(data) != 1000:
                    wrong.append(data)
                if [each.size_bytes for each in local.list("", "", 5)[0]] != [1000]:
                    wrong.append("listed wrongly")
            except ObjectNotFoundError as error:
                wrong.append(error)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(read)
        for number in range(50):
            put(local, "a", b"%d" % (number % 10) * 1000)
        stop.set()

    assert wrong == []


def test_a_registration_and_a_change_never_both_win(
    objects: Objects, local: LocalObjects, state: State
) -> None:
    """The catalog's way: watch the object, look at it, then ask inside the transaction."""
    guard: Guard = objects._unless_registered

    def register(key: str) -> bool:
        try:
            with objects.watching([key]) as changed:
                seen = local.find(key)

                def work(tx: Transaction) -> None:
                    if key in changed:
                        raise ConflictError("replaced")
                    tx.execute("INSERT INTO registered_object VALUES (?, ?, 'main.d')", (key, key))

                state.write(work)
        except (ObjectNotFoundError, ConflictError):
            return False
        registered[key] = seen
        return True

    def change(key: str, number: int) -> None:
        try:
            if number % 2:
                local.delete(key, guard)
            else:
                put(local, key, f"{number}".encode(), guard)
        except ObjectRegisteredError:
            refused.append(key)

    registered: dict[str, ObjectInfo] = {}
    refused: list[str] = []
    keys = [f"k/{number}" for number in range(20)]
    for key in keys:
        put(local, key, b"first")
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(20):
            for key in random.Random(number).sample(keys, 10):
                pool.submit(change, key, number)
                pool.submit(register, key)

    assert registered
    for key, seen in registered.items():
        assert local.find(key) == seen  # the very bytes that were registered are still there
    assert set(refused) <= set(registered)


async def test_the_check_comes_before_the_body_is_read(objects: Objects, state: State) -> None:
    await objects.put("a", stream(b"x"))
    state.write(lambda tx: tx.execute("INSERT INTO registered_object VALUES ('a', 'u', 'main.d')"))

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(ObjectRegisteredError, match=r"main\.d"):
        await objects.put("a", never())


def test_a_path_that_is_too_long_for_the_disk_is_refused_by_name(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 1200:
        deep = deep / ("d" * 200)
    local = LocalObjects(LocalStore(deep))
    key = "\x01" * 1024  # three characters a byte

    with pytest.raises(InvalidKeyError, match="too long"):
        put(local, key, b"x")
    put(local, "x" * 1024, b"x")
    assert everything(local) == ["x" * 1024]


FULL_DISK = """
import pathlib, sys
from lakehouse.storage import LocalObjects, LocalStore
from lakehouse.storage import objects as module
from lakehouse.disk import DiskFullError

store = LocalStore(pathlib.Path(sys.argv[1]))
local = LocalObjects(store)
upload = local.begin("a/b", None)
try:
    for _ in range(4000):
        upload.write(b"x" * 1000)
    local.put(upload, "a/b", lambda key, change: change())
    print("stored")
except DiskFullError:
    print("full")
finally:
    upload.discard()
try:
    store.write("tables/t", b"x" * 4_000_000)
except DiskFullError:
    print("full again")
store.write("tables/small", b"x")
print(sorted(p.name for p in store.root.rglob("*") if p.is_file()))
"""


def test_a_full_disk_is_507_and_leaves_nothing(tmp_path: Path) -> None:
    """A real one: a file system of 1 MiB, mounted in a namespace of its own."""
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT SHOWN: no file system can be mounted here: {error}")

    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert ran.stdout.splitlines() == ["full", "full again", "['small']"], ran.stderr
