"""What a bucket is asked for the sizes of many objects, and of few."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.storage import LocalStore, Store, open_warehouse
from lakehouse.storage.s3 import LISTED_MIN
from tests import object_store
from tests.object_store import Proxy

FOLDER = "tables/main/t-00000000"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Proxy, Store]]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(tmp_path, proxy.url)
        yield proxy, open_warehouse(config, tmp_path, tmp_path).store


def made(store: Store, count: int) -> dict[str, int]:
    sizes = {f"{FOLDER}/data/{number}.parquet": number for number in range(count)}
    for key, size in sizes.items():
        store.write(key, b"x" * size)
    return sizes


def test_many_are_one_list(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    sizes = made(store, LISTED_MIN + 2)
    gone = f"{FOLDER}/data/3.parquet"
    store.delete(gone)
    proxy.asked.clear()

    found = store.sizes(FOLDER, [*list(sizes)[1:], "objects/a-/1"])

    expected = dict(list(sizes.items())[1:])
    del expected[gone]
    assert found == expected
    assert proxy.kinds() == ["GET"]


def test_few_are_asked_for_one_by_one(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    sizes = made(store, LISTED_MIN - 1)
    proxy.asked.clear()

    assert store.sizes(FOLDER, [*sizes, f"{FOLDER}/gone"][1:]) == dict(list(sizes.items())[1:])
    assert set(proxy.kinds()) == {"HEAD"}


def test_a_directory_tells_of_each(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    sizes = made(store, 12)
    assert store.sizes(FOLDER, [*sizes, "elsewhere/gone"]) == sizes
