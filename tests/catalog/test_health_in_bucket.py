"""What a bucket is asked when all tables are looked at."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse.catalog.health import LISTED_MIN, not_listed
from lakehouse.catalog.manifests import LiveFile
from lakehouse.storage import Store, open_warehouse
from tests import object_store
from tests.object_store import Proxy

FOLDER = "tables/main/t-00000000"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Proxy, Store]]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(tmp_path, proxy.url)
        yield proxy, open_warehouse(config, tmp_path, tmp_path).store


def made(store: Store, count: int) -> list[LiveFile]:
    files = []
    for number in range(count):
        key = f"{FOLDER}/data/{number}.parquet"
        store.write(key, b"x" * number)
        files.append(LiveFile(store.uri(key), number, 1, 1, 1, ()))
    return files


def test_many_files_are_one_list_and_only_what_differs_is_left(
    proxied: tuple[Proxy, Store],
) -> None:
    proxy, store = proxied
    files = made(store, LISTED_MIN + 2)
    store.delete(store.key(files[3].location))
    files[5] = replace(files[5], size_bytes=99)
    elsewhere = replace(files[0], location=store.uri("objects/a-/1"))
    proxy.asked.clear()

    left = not_listed(store, FOLDER, [*files, elsewhere])

    assert list(left) == [files[3], files[5], elsewhere]
    assert proxy.kinds() == ["GET"]


def test_few_files_are_asked_for_one_by_one(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    files = made(store, LISTED_MIN - 1)
    proxy.asked.clear()

    assert not_listed(store, FOLDER, files) == files
    assert proxy.asked == []
