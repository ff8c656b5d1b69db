"""What only PostgreSQL does: it is elsewhere, it is shared, it goes away and comes back."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from lakehouse.config import CatalogConfig
from lakehouse.errors import UnavailableError
from lakehouse.state import (
    CatalogInUseError,
    DataDirectory,
    Lease,
    LeaseLostError,
    SqliteState,
    StateTooNewError,
    Transaction,
    move_catalog,
    open_state,
)
from lakehouse.state import postgres as module
from lakehouse.state.errors import (
    CatalogLostError,
    CatalogNotEmptyError,
    CatalogNotMovedError,
    CatalogUnreachableError,
    StateBusyError,
    StateRefusedError,
    StateUnknownError,
    StateUnreachableError,
)
from lakehouse.state.migrations import FORMAT
from lakehouse.state.postgres import PostgresPlace, PostgresState
from tests import postgres

INSERT = "INSERT INTO registered_object (object_key, table_uuid, dataset) VALUES (?, 'u', 'd')"


@pytest.fixture
def place() -> Iterator[PostgresPlace]:
    with postgres.schema() as place:
        yield place


@pytest.fixture
def own_server() -> Iterator[postgres.PostgresServer]:
    """A server that the test may stop."""
    postgres.needed()
    with postgres.running() as server:
        yield server


def add(key: str) -> Callable[[Transaction], object]:
    return lambda tx: tx.execute(INSERT, (key,))


def keys(state: PostgresState) -> list[str]:
    sql = "SELECT object_key FROM registered_object ORDER BY object_key"
    return [row[0] for row in state.read(lambda tx: tx.execute(sql).fetchall())]


def test_a_second_opening_finds_what_the_first_one_wrote(place: PostgresPlace) -> None:
    with PostgresState.open(place) as state:
        state.write(add("a"))
    with PostgresState.open(place) as state:
        assert keys(state) == ["a"]


def test_text_is_ordered_and_folded_as_in_sqlite(place: PostgresPlace) -> None:
    with PostgresState.open(place) as state:
        for key in ("b", "B", "a", "ä", "Z", "_"):
            state.write(add(key))
        assert keys(state) == ["B", "Z", "_", "a", "b", "ä"]
        folded = "SELECT lower(?)"
        assert state.read(lambda tx: tx.execute(folded, ("AÄb",)).fetchone()) == ("aÄb",)


def test_a_text_with_a_nul_is_taken(place: PostgresPlace) -> None:
    with PostgresState.open(place) as state:
        state.write(add("a\0b"))
        assert keys(state) == ["a�b"]


def test_a_newer_one_is_refused_and_left_as_it_is(place: PostgresPlace) -> None:
    with PostgresState.open(place) as state:
        state.write(lambda tx: tx.execute("UPDATE lakehouse_step SET step = ?", (FORMAT + 1,)))
    with pytest.raises(StateTooNewError, match=f"step {FORMAT + 1}"), PostgresState.open(place):
        pass


def test_tables_of_somebody_else_are_not_taken_for_ours(place: PostgresPlace) -> None:
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute("CREATE TABLE token (mine INT)")
    refused = pytest.raises(StateRefusedError, match="a schema of its own")
    with refused, PostgresState.open(place):
        pass
    with psycopg.connect(place.uri) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('iceberg_tables')").fetchone() == (None,)


def test_a_server_that_is_not_there_or_refuses_us_is_told_apart(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 2)
    nowhere = PostgresPlace("postgresql://lake@127.0.0.1:1/postgres")
    with pytest.raises(CatalogUnreachableError, match="127"), PostgresState.open(nowhere):
        pass
    other = PostgresPlace(place.uri.replace("/postgres?", "/nowhere?"), "secret")
    with pytest.raises(StateRefusedError, match="nowhere") as raised, PostgresState.open(other):
        pass
    assert "secret" not in str(raised.value) + repr(other)


def test_two_directories_do_not_write_to_one_catalog(place: PostgresPlace) -> None:
    with PostgresState.open(place) as one, PostgresState.open(place) as two:
        with Lease.hold(one, "one"), pytest.raises(CatalogInUseError), Lease.hold(two, "two"):
            pass
        with Lease.hold(two, "two"):
            two.write(add("a"))


def test_who_lost_the_lease_writes_nothing_more(place: PostgresPlace) -> None:
    with PostgresState.open(place) as one, PostgresState.open(place) as two, Lease.hold(one, "one"):
        one.write(add("a"))
        two.write(lambda tx: tx.execute("UPDATE lease SET heartbeat_at = heartbeat_at - 60"))
        with Lease.hold(two, "two"):
            with pytest.raises(LeaseLostError):
                one.write(add("late"))
            two.write(add("b"))
            assert keys(one) == ["a", "b"]


def test_writers_of_two_processes_take_turns(place: PostgresPlace) -> None:
    """What a transaction read stays so until it ends: none of the increments is lost."""
    with PostgresState.open(place) as one, PostgresState.open(place) as two:
        one.write(add("0"))

        def count_up(state: PostgresState) -> None:
            def work(tx: Transaction) -> None:
                (found,) = tx.execute("SELECT object_key FROM registered_object").fetchone()
                tx.execute("UPDATE registered_object SET object_key = ?", (str(int(found) + 1),))

            for _ in range(50):
                state.write(work)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count_up, [one, two, one, two]))
        assert keys(one) == ["200"]


def test_more_readers_than_connections_wait_or_are_told_to_come_back(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_WAIT_MAX_S", 0.3)
    few = PostgresPlace(place.uri, connections_max=2)
    with PostgresState.open(few) as state:
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda _: len(keys(state)), range(64))) == {0}
        release = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            held = [pool.submit(state.read, lambda tx: release.wait(20)) for _ in range(2)]
            with pytest.raises(StateBusyError):
                while True:  # until both have theirs
                    keys(state)
            release.set()
            assert [each.result() for each in held] == [True, True]
        assert keys(state) == []


def test_a_server_that_starts_again_is_met_again_by_itself(
    own_server: postgres.PostgresServer,
) -> None:
    with PostgresState.open(PostgresPlace(own_server.uri)) as state:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: keys(state), range(64)))
        own_server.stop()
        own_server.start()
        state.write(add("a"))
        assert keys(state) == ["a"]


def test_a_server_killed_under_load_loses_nothing_that_was_acknowledged(
    own_server: postgres.PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_WAIT_MAX_S", 1.0)
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 2)
    acknowledged: list[str] = []
    refused: list[Exception] = []
    stop = threading.Event()
    with PostgresState.open(PostgresPlace(own_server.uri)) as state:

        def load(number: int) -> None:
            for turn in range(1_000_000):
                if stop.is_set():
                    return
                key = f"{number}:{turn}"
                try:
                    state.write(add(key))
                except UnavailableError as error:
                    refused.append(error)
                    time.sleep(0.05)
                except StateUnknownError:
                    continue  # it is there, or it is not
                else:
                    acknowledged.append(key)

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(load, number) for number in range(4)]
            for stopping in ("immediate", "kill", "fast"):
                wait_for_more(acknowledged)
                own_server.kill() if stopping == "kill" else own_server.stop(stopping)
                time.sleep(0.5)
                start_again(own_server)
            wait_for_more(acknowledged)
            stop.set()
            for each in running:
                each.result()
        assert refused
        assert all("try again" in str(each) for each in refused)
        assert set(acknowledged) <= set(keys(state))


def wait_for_more(acknowledged: list[str]) -> None:
    enough = len(acknowledged) + 20
    deadline = time.monotonic() + 60
    while len(acknowledged) < enough:
        assert time.monotonic() < deadline, "nothing was acknowledged for a minute"
        time.sleep(0.02)


def start_again(server: postgres.PostgresServer) -> None:
    for _ in range(20):  # of one that was killed, the shared memory is in use for a moment
        with suppress(RuntimeError):
            server.start()
            return
        time.sleep(0.5)
    server.start()


def test_a_copy_is_a_catalog_file_that_says_when_and_that_nobody_holds_it(
    place: PostgresPlace, tmp_path: Path
) -> None:
    with PostgresState.open(place) as state, Lease.hold(state, "one"):
        state.write(add("a"))
        began = time.time()
        state.copy_to(tmp_path / "copy.db")
    assert [each.name for each in tmp_path.iterdir()] == ["copy.db"]
    with SqliteState.open(tmp_path / "copy.db") as copy:
        found = copy.read(
            lambda tx: [
                tx.execute(f"SELECT * FROM {each}").fetchall()
                for each in ("registered_object", "lease", "catalog_copy")
            ]
        )
    assert found[:2] == [[("a", "u", "d")], []]
    assert found[2][0][0] >= began - 1


def test_a_database_that_takes_no_tables_is_refused_with_what_to_do(
    own_server: postgres.PostgresServer,
) -> None:
    own_server.execute("CREATE ROLE app LOGIN")
    app = own_server.uri.replace(f"{postgres.USER}@", "app@")
    for uri, words in (
        (app, "GRANT CREATE"),
        (f"{app}?options=-csearch_path%3Dgone", "CREATE SCHEMA"),
        (f"{own_server.uri}?options=-cdefault_transaction_read_only%3Don", "takes writes"),
    ):
        with pytest.raises(StateRefusedError, match=words):
            PostgresState.open(PostgresPlace(uri)).__enter__()


def test_while_the_database_only_reads_writes_are_refused_and_come_through_later(
    own_server: postgres.PostgresServer,
) -> None:
    read_only = "ALTER DATABASE postgres SET default_transaction_read_only = {}"
    with PostgresState.open(PostgresPlace(own_server.uri)) as state:
        state.write(add("a"))
        own_server.execute(read_only.format("on"))
        own_server.stop()
        own_server.start()
        with pytest.raises(StateUnreachableError):
            state.write(add("b"))
        assert keys(state) == ["a"]
        with psycopg.connect(
            f"{own_server.uri}?options=-cdefault_transaction_read_only%3Doff"
        ) as c:
            c.execute(read_only.format("off"))
        own_server.stop()
        own_server.start()
        state.write(add("c"))
        assert keys(state) == ["a", "c"]


def test_a_catalog_file_is_moved_once_and_numbers_go_on(
    place: PostgresPlace, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    config = CatalogConfig(uri=place.uri)
    run = (
        "INSERT INTO maintenance_run (table_uuid, table_name, task, outcome, item_count,"
        " size_bytes, started_at, duration_s) VALUES ('u', 't', 'sweep', 'done', 1, 1, 1, 1)"
        " RETURNING run_id"
    )
    schedule = (
        "INSERT INTO schedule (label, asked, caller, created_at, paused, next_at)"
        " VALUES (?, '{}', 'c', 1, 0, 1) RETURNING schedule_id"
    )
    with DataDirectory.open(data) as directory, SqliteState.open(directory.catalog_file) as before:
        for key in ("a", "b"):
            before.write(add(key))
        insert = (
            "INSERT INTO iceberg_tables VALUES ('lakehouse', 'main', 't', 'file:///t', NULL, NULL)"
        )
        before.write(lambda tx: tx.execute(insert))
        for _ in range(3):
            before.write(lambda tx: tx.execute(run).fetchone())
        before.write(lambda tx: tx.execute(schedule, ("first",)).fetchone())
    not_moved = pytest.raises(CatalogNotMovedError, match="catalog move")
    with DataDirectory.open(data, has_catalog=False) as directory, not_moved:
        open_state(directory, config).__enter__()

    assert move_catalog(data, config)[0] == 1

    assert not (data / "catalog.db").exists()
    moved = DataDirectory.open(data, has_catalog=False)
    with moved as directory, open_state(directory, config) as state:
        assert isinstance(state, PostgresState)
        assert keys(state) == ["a", "b"]
        assert state.write(lambda tx: tx.execute(run).fetchone()) == (4,)
        assert state.write(lambda tx: tx.execute(schedule, ("second",)).fetchone()) == (2,)
    (kept,) = data.glob("catalog.db.moved-*")
    kept.rename(data / "catalog.db")
    with pytest.raises(CatalogNotEmptyError):
        move_catalog(data, config)
    with closing(sqlite3.connect(data / "catalog.db")) as connection:
        assert connection.execute("SELECT count(*) FROM registered_object").fetchone() == (2,)


def test_tables_that_a_new_database_never_heard_of_stop_the_start(
    place: PostgresPlace, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "warehouse" / "tables" / "main" / "t-1" / "metadata").mkdir(parents=True)
    with DataDirectory.open(data, has_catalog=False) as directory:
        for _ in range(2):
            with pytest.raises(CatalogLostError):
                open_state(directory, CatalogConfig(uri=place.uri)).__enter__()
