"""A large object is read in several parts at once, and never more than there is room for."""

import gc
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.storage import ObjectNotFoundError, Store, StoreDownError, open_warehouse
from lakehouse.storage.object_file import PARTS_AT_ONCE_MAX, PARTS_MAX, Parts
from tests import object_store
from tests.object_store import Asked, Proxy

PART = 64 * 1024
DATA = b"".join(
    hashlib.sha512(f"{number}".encode()).digest() for number in range(10_240)
)  # 10 PART


@pytest.fixture
def proxied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Store]]:
    object_store.needed()
    monkeypatch.setattr("lakehouse.storage.object_file.PART_BYTES", PART)
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(tmp_path, proxy.url)
        store = open_warehouse(config, tmp_path, tmp_path).store
        store.write("large", DATA)
        proxy.asked.clear()
        yield proxy, store


class Counted:
    """Counts the requests that are on their way at once: all wait for each other."""

    def __init__(self, together: int) -> None:
        self._meet = threading.Barrier(together)

    def __call__(self, asked: Asked) -> str | None:
        if asked.method == "GET":
            self._meet.wait(10)
        return None


@pytest.mark.parametrize("piece", [-1, PART, 1000])
def test_the_bytes_are_those_of_one_stream(piece: int, proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied

    with store.open("large") as file:
        pieces = bytearray()
        while found := file.read(piece):
            pieces += found

    assert bytes(pieces) == DATA
    assert proxy.kinds() == ["GET"] * 10


def test_parts_are_on_their_way_together(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    with store.open("large") as file:
        assert file.read(PART) == DATA[:PART]
        proxy.fault = Counted(PARTS_AT_ONCE_MAX)  # one after the other they would wait for ever

        assert file.read(PART * PARTS_AT_ONCE_MAX) == DATA[PART : 4 * PART]
        proxy.fault = lambda asked: None
        assert file.read() == DATA[4 * PART :]


def test_who_looks_around_asks_for_a_part_and_no_more(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    with store.open("large") as file:
        for start in (600_000, 5, 300_000):
            file.seek(start)
            assert file.read(8) == DATA[start : start + 8]
        file.seek(-8, 2)
        assert file.read() == DATA[-8:]

    assert len(proxy.asked) <= 5


def test_whoever_finds_no_room_reads_one_stream(
    proxied: tuple[Proxy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, store = proxied
    held = [store.open("large") for _ in range(PARTS_MAX)]
    for file in held:
        file.read(PART + 1)
    proxy.asked.clear()

    with store.open("large") as file:
        assert file.read() == DATA

    assert len(proxy.asked) == 2  # its first part, and all the rest
    for file in held:
        file.close()
    proxy.asked.clear()
    with store.open("large") as file:
        assert file.read() == DATA
    assert len(proxy.asked) == 10


@pytest.mark.parametrize("fault", ["500", "SlowDown", "reset", "truncate", "half", "reset-after"])
def test_a_part_that_fails_is_asked_for_again(fault: str, proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    number = iter(range(1000))
    proxy.fault = lambda asked: fault if next(number) % 3 == 2 else None

    assert store.read("large") == DATA


def test_a_part_that_never_comes_is_said_and_gives_its_room_back(
    proxied: tuple[Proxy, Store],
) -> None:
    proxy, store = proxied
    for _ in range(PARTS_MAX):
        proxy.fault = lambda asked: None
        with store.open("large") as file:
            file.read(PART)
            proxy.fault = lambda asked: "half"
            with pytest.raises(StoreDownError, match="too early"):
                file.read()
    proxy.fault = lambda asked: None
    wait_until_quiet(proxy)
    proxy.asked.clear()

    assert store.read("large") == DATA
    assert len(proxy.asked) == 10


def wait_until_quiet(proxy: Proxy) -> None:
    """Wait for parts that were asked for before, and that nobody reads any more."""
    count = -1
    while count != len(proxy.asked):
        count = len(proxy.asked)
        time.sleep(0.5)


def test_an_object_that_becomes_another_one_is_not_mixed(proxied: tuple[Proxy, Store]) -> None:
    _, store = proxied
    with store.open("large") as file:
        assert file.read(PART) == DATA[:PART]
        store.write("large", DATA[::-1])
        with pytest.raises(Exception, match="large"):
            file.read()
    store.delete("large")
    with pytest.raises(ObjectNotFoundError):
        store.open("large")


def test_an_empty_object_is_read(proxied: tuple[Proxy, Store]) -> None:
    _, store = proxied
    store.write("empty", b"")

    with store.open("empty") as file:
        assert file.read() == b"" and file.seek(0, 2) == 0


def test_no_more_parts_are_held_than_may_be() -> None:
    parts = Parts(2)
    first, second = parts.begin(lambda: b"1"), parts.begin(lambda: b"2")
    assert first and second and parts.begin(lambda: b"3") is None
    assert first.result() == b"1"
    assert parts.begin(lambda: b"3") is None  # it is fetched, and still held

    parts.end(first)
    del first
    gc.collect()

    third = parts.begin(lambda: b"3")
    assert third and third.result() == b"3"
