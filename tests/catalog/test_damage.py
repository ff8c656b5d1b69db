"""One damaged table is named, with its file, and stops neither the start nor any other table."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from lakehouse.catalog import Catalog, Rows, TableDamagedError, TableRef
from lakehouse.catalog.health import Damages, damage_of
from lakehouse.catalog.metadata import snapshot_of
from lakehouse.errors import LakehouseError
from tests.catalog.lake import Lake, main
from tests.services import lakehouse_server


def metadata_file(lake: Lake) -> str:
    return lake.store.key(lake.catalog.load(main("hurt")).location)


def manifest_list(lake: Lake) -> str:
    return lake.manifest_list("hurt")


def manifest(lake: Lake) -> str:
    location = lake.catalog.load(main("hurt")).metadata["snapshots"][-1]["manifest-list"]
    return lake.store.key(lake.catalog._manifests.read_list(location)[0].manifest_path)


def data_file(lake: Lake) -> str:
    return lake.data_files("hurt")[0]


def remove(data: bytes) -> bytes | None:
    return None


def truncate(data: bytes) -> bytes | None:
    return data[: len(data) // 2]


def garble(data: bytes) -> bytes | None:
    return (b"\x00garbage" * len(data))[: len(data)]


def empty(data: bytes) -> bytes | None:
    return b""


FILES = [metadata_file, manifest_list, manifest, data_file]
HARMS = [remove, truncate, garble, empty]


def hurt(lake: Lake, which: Callable[[Lake], str], harm: Callable[[bytes], bytes | None]) -> str:
    """Make three tables, harm one file of one of them, and return its key."""
    for name in ("hurt", "well", "fine"):
        lake.write(name, f"SELECT 1 AS id, '{name}' AS name")
    key = which(lake)
    path = lake.store.root / key
    harmed = harm(path.read_bytes())
    if harmed is None:
        path.unlink()
    else:
        path.write_bytes(harmed)
    return key


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("which", FILES)
def test_a_damaged_table_is_named_and_the_others_work(
    lake: Lake, which: Callable[[Lake], str], harm: Callable[[bytes], bytes | None]
) -> None:
    key = hurt(lake, which, harm)
    catalog = lake.catalog = lake.reopened()

    with pytest.raises(TableDamagedError, match=r"main\.hurt") as caught:
        catalog.pin(lake.cursor, [TableRef(None, "hurt")])
    if which is not metadata_file:
        assert key in caught.value.detail or harm is garble
    assert not caught.value.retryable
    assert str(lake.root) not in caught.value.detail, "no path of the host"

    if (which, harm) != (data_file, garble):  # of the right size: only who reads it can tell
        assert set(catalog.damaged()) == {"main.hurt"}
        assert catalog.damage(main("hurt")) == catalog.damaged()["main.hurt"]
        assert "damaged" not in catalog.damaged()["main.hurt"], "why, not that"
    assert catalog.damage(main("well")) is None
    assert lake.rows("well") == [(1, "well")]
    lake.write("fine", "SELECT 2 AS id, 'fine' AS name", mode="append")
    assert lake.rows("fine") == [(1, "fine"), (2, "fine")]
    assert [str(name) for name in catalog.names()] == ["main.fine", "main.hurt", "main.well"]


@pytest.mark.parametrize("which", FILES)
def test_what_is_in_memory_does_not_hide_the_damage(
    lake: Lake, which: Callable[[Lake], str]
) -> None:
    hurt(lake, which, lambda data: data)
    assert lake.rows("hurt") == [(1, "hurt")]
    (lake.store.root / which(lake)).unlink()
    assert set(lake.catalog.damaged()) == {"main.hurt"}


@pytest.mark.parametrize("which", FILES)
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_damaged_table_can_be_dropped_and_made_again(
    lake: Lake, which: Callable[[Lake], str], mode: str
) -> None:
    hurt(lake, which, garble)
    lake.catalog = lake.reopened()
    before = lake.tree()
    if which in (metadata_file, manifest_list):
        with pytest.raises(Exception) as caught:
            lake.write("hurt", "SELECT 2 AS id, 'x' AS name", mode=mode)  # type: ignore[arg-type]
        assert isinstance(caught.value, LakehouseError)
        assert lake.tree() == before
    lake.catalog.drop(main("hurt"))
    lake.write("hurt", "SELECT 2 AS id, 'x' AS name")
    assert lake.rows("hurt") == [(2, "x")]
    assert lake.catalog.damaged() == {}


def test_an_old_snapshot_may_be_damaged_alone(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    first = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    (lost,) = lake.data_files("t")
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    (lake.store.root / lost).unlink()
    assert lake.catalog.damaged() == {}
    assert lake.rows("t") == [(2, "b")]
    with pytest.raises(TableDamagedError, match="is gone"):
        lake.rows("t", as_of=first)


def test_a_table_that_lies_elsewhere_is_damaged_not_read(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    elsewhere = "file:///etc/passwd"
    lake.state.write(
        lambda tx: tx.execute("UPDATE iceberg_tables SET metadata_location = ?", (elsewhere,))
    )
    with pytest.raises(TableDamagedError):
        lake.rows("t")
    assert set(lake.catalog.damaged()) == {"main.t"}


def test_damage_is_looked_for_at_most_once_a_minute() -> None:
    calls: list[int] = []

    def check() -> dict[str, str]:
        calls.append(1)
        return {"main.t": "gone"}

    damages = Damages(check, lambda name: "gone")
    assert damages.get() == damages.get() == {"main.t": "gone"}
    damages.get()["main.t"] = "mine"
    assert damages.get() == {"main.t": "gone"}, "what is returned is a copy"
    assert len(calls) == 1


@pytest.mark.parametrize("which", [manifest_list, manifest, data_file])
def test_nothing_is_added_to_a_table_that_was_found_damaged(
    lake: Lake, which: Callable[[Lake], str]
) -> None:
    hurt(lake, which, lambda data: data)
    path = lake.store.root / which(lake)
    kept = path.read_bytes()
    path.unlink()
    assert set(lake.catalog.damaged()) == {"main.hurt"}
    before = lake.tree()
    rows = Rows("SELECT 2 AS id, 'x' AS name", lake.catalog.get(main("hurt")).columns)

    with pytest.raises(TableDamagedError, match="is gone"):
        lake.catalog.loading.write(lake.cursor, main("HURT"), rows, mode="append")
    with pytest.raises(TableDamagedError, match="is gone"):
        lake.catalog.rows.merge(lake.cursor, main("hurt"), rows, ["id"])
    with pytest.raises(TableDamagedError, match="is gone"):
        lake.catalog.rows.delete(lake.cursor, main("hurt"), "id = 7")
    assert lake.tree() == before
    lake.write("well", "SELECT 2 AS id, 'x' AS name", mode="append")

    path.write_bytes(kept)  # within the minute in which it counts as damaged
    lake.write("hurt", "SELECT 2 AS id, 'x' AS name", mode="append")
    assert lake.rows("hurt") == [(1, "hurt"), (2, "x")]


def test_a_table_whose_files_are_gone_can_be_overwritten(lake: Lake) -> None:
    hurt(lake, data_file, remove)
    assert set(lake.catalog.damaged()) == {"main.hurt"}

    lake.write("hurt", "SELECT 2 AS id, 'x' AS name", mode="overwrite")
    lake.write("hurt", "SELECT 3 AS id, 'y' AS name", mode="append")

    assert lake.rows("hurt") == [(2, "x"), (3, "y")]


def test_what_a_statement_finds_stops_the_next_append(lake: Lake) -> None:
    hurt(lake, data_file, remove)
    lake.catalog = lake.reopened()
    with pytest.raises(TableDamagedError):
        lake.catalog.pin(lake.cursor, [TableRef(None, "hurt")])

    with pytest.raises(TableDamagedError):
        lake.write("hurt", "SELECT 2 AS id, 'x' AS name", mode="append")


def test_opening_reads_no_table(lake: Lake) -> None:
    hurt(lake, metadata_file, garble)
    assert len(Catalog(lake.state, lake.store).names()) == 3


def test_a_server_says_the_same_of_a_damaged_table_wherever_it_is_asked(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server, httpx.Client(base_url=server.url) as http:
        for name in ("hurt", "well"):
            http.post(f"/v1/ingest?name={name}", files={"file": ("t.csv", "id\n1\n")})
            sql = {"sql": f"SELECT * FROM {name}"}
            assert http.post("/v1/sql", json=sql).json()["rows"] == [[1]]
        (file,) = (server.data_dir / "warehouse" / "tables" / "main").glob("hurt-*/data/*.parquet")
        file.unlink()

        read = http.post("/v1/sql", json={"sql": "SELECT sum(id) FROM hurt"})
        assert (read.status_code, read.json()["type"]) == (503, "/problems/table-damaged")
        (warning,) = http.get("/ready").json()["warnings"]
        assert warning.startswith("the table main.hurt: ")
        for mode in ("append", "upsert&key=id"):
            rows = http.post(f"/v1/tables/hurt/rows?mode={mode}", json={"rows": [{"id": 2}]})
            assert (rows.status_code, rows.json()["type"]) == (503, "/problems/table-damaged")
        loaded = http.post("/v1/ingest?name=hurt&mode=append", files={"file": ("t.csv", "id\n2\n")})
        assert loaded.json()["type"] == "/problems/table-damaged"
        rows = http.post("/v1/tables/well/rows", json={"rows": [{"id": 2}]})
        assert rows.status_code == 201


def test_a_list_that_knows_a_file_wrongly_damages_no_table(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    (file,) = lake.data_files("t")
    table = lake.catalog.load(main("t"))

    def damage() -> str | None:
        snapshot = snapshot_of(table.metadata)
        return damage_of(table, snapshot, lake.catalog._manifests, lake.store)

    monkeypatch.setattr(lake.store, "sizes", lambda folder, keys: dict.fromkeys(keys, 7))
    assert damage() is None
    lake.store.delete(file)
    assert damage() == f"the data file {file} is gone"
