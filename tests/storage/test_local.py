import os
from pathlib import Path

import pytest

from lakehouse.storage import LocalStore, ObjectNotFoundError
from lakehouse.storage.errors import WarehousePathError


def files_in(store: LocalStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_what_was_written_is_read_back(store: LocalStore) -> None:
    store.write("tables/a/1.json", b"one")
    store.write("tables/a/1.json", b"two")

    assert store.read("tables/a/1.json") == b"two"
    assert store.size("tables/a/1.json") == 3
    assert list(store.keys("tables")) == ["tables/a/1.json"]
    with store.open("tables/a/1.json") as file:
        file.seek(1)
        assert file.read() == b"wo"


def test_what_is_not_there_is_not_found(store: LocalStore) -> None:
    store.write("a/b", b"")

    for key in ("x", "a", "a/b/c"):
        assert not store.exists(key)
        assert store.size(key) is None
        with pytest.raises(ObjectNotFoundError):
            store.read(key)


def test_a_failed_write_leaves_nothing_behind(store: LocalStore) -> None:
    store.write("a", b"old")

    with pytest.raises(RuntimeError), store.writing("a") as file:
        file.write(b"half")
        raise RuntimeError

    assert store.read("a") == b"old"
    assert files_in(store) == ["a"]


def test_what_a_killed_process_left_is_removed_and_was_never_an_object(store: LocalStore) -> None:
    store.write("tables/a", b"")
    store.new_unfinished().write_bytes(b"half")
    assert list(store.keys("tables")) == ["tables/a"]

    store.remove_unfinished()

    assert files_in(store) == ["tables/a"]


def test_a_location_leads_back_to_its_key(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "with space é %20+'")

    for key in ("tables/a/data/0.parquet", "objects/a_20b/é"):
        assert store.key(store.uri(key)) == key
        assert store.key(store.uri(key).replace("file://", "file:")) == key  # as Java writes it


def test_a_location_is_what_engines_read_and_they_decode_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "my data %20")

    assert store.uri("tables/x") == f"file://{tmp_path}/my data %20/tables/x"


@pytest.mark.parametrize("name", ["a#b", "a?b", "a*b", "a[1]"])
def test_a_path_that_engines_misunderstand_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(WarehousePathError, match="data directory"):
        LocalStore(tmp_path / name)


def test_a_location_outside_of_the_warehouse_has_no_key(store: LocalStore) -> None:
    root = store.root
    for uri in (
        "file:///etc/passwd",
        f"file://{root}/../x",
        f"file://host{root}/x",
        f"file://{root}/x?s3_endpoint=evil",
        f"file://{root}/x#y",
        f"file://{root}/*.parquet",
        f"s3://{root}/x",
        f"{root}-other/x",
    ):
        with pytest.raises(ValueError, match=r"location|subpath"):
            store.key(uri)


def test_a_key_cannot_leave_the_warehouse(store: LocalStore) -> None:
    for key in ("../x", "a/../../x", "/etc/passwd"):
        with pytest.raises(ValueError, match="leaves"):
            store.read(key)
        with pytest.raises(ValueError, match="leaves"):
            store.write(key, b"")


def test_files_of_another_writer_are_synced_with_their_folders(store: LocalStore) -> None:
    store.prepare("tables/t/data")
    file = store.root / "tables/t/data/p=1/q=2/0.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")

    store.sync(["tables/t/data/p=1/q=2/0.parquet"])  # what it syncs: test_durability.py


def test_deleting_twice_is_deleting_once(store: LocalStore) -> None:
    store.write("a", b"")
    store.delete("a")
    store.delete("a")

    assert not store.exists("a")
    assert os.listdir(store.root) == ["_tmp"]  # noqa: PTH208


@pytest.mark.parametrize(
    "rest", ["../x", "a/../x", "a/./b", "a//b", "/a", "a?b", "a*", "a/b#c", ".", "..", "", "a/.."]
)
def test_a_location_that_is_spelled_otherwise_is_looked_at_part_by_part(
    tmp_path: Path, rest: str
) -> None:
    store = LocalStore(tmp_path)
    try:
        key = store.key(f"file://{store.root}/{rest}")
    except ValueError:
        return
    assert store.path(key).is_relative_to(store.root)
    assert ".." not in Path(key).parts
    assert key == str(Path(key))
