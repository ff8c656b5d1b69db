"""The lock holds on every cursor, and what a cursor computes does not depend on the host."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

from lakehouse.database import (
    Connection,
    Database,
    DatabaseSettings,
    EngineError,
    Remote,
    give_back,
    literal,
    quoted,
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    settings = DatabaseSettings(
        directories=(tmp_path,),
        temp_dir=tmp_path / "spill",
        memory_max_bytes=1 << 30,
        temp_max_bytes=1 << 30,
    )
    try:
        with Database.open(settings) as opened:
            yield opened
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_do_not_depend_on_the_hosts_zone(database: Database) -> None:
    with database.cursor() as cursor:
        table = cursor.execute("SELECT TIMESTAMPTZ '2020-01-01 10:00:00' AS at").to_arrow_table()

    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert table["at"][0].value == 1_577_872_800_000_000


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/lakehouse-database.csv'",
        "SET threads = 1",
        "SET GLOBAL TimeZone = 'Asia/Tokyo'",
        "INSTALL httpfs",
        "ATTACH '/tmp/lakehouse-database.db'",
        "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "SELECT * FROM database",  # a Python variable of this test
    ],
)
def test_a_cursor_cannot_reach_the_host(database: Database, sql: str) -> None:
    with database.cursor() as cursor, pytest.raises(EngineError):
        cursor.execute(sql)


def test_what_the_lock_says_is_in_force_and_can_be_changed_by_nobody(
    database: Database, tmp_path: Path
) -> None:
    """Had one of them come too late, or not for all cursors, it would not be in force here."""
    expected = {
        "allow_persistent_secrets": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "TimeZone": "UTC",
        "memory_limit": "1.0 GiB",
        "temp_directory": str(tmp_path / "spill"),
        "allowed_directories": [f"{tmp_path}/", f"{tmp_path}/spill/"],
        "enable_external_access": False,
        "lock_configuration": True,
    }
    with database.cursor() as cursor:
        sql = "SELECT function_name FROM duckdb_functions()"
        functions = {name for (name,) in cursor.execute(sql).fetchall()}
        assert {"read_avro", "iceberg_scan"} <= functions, "what is loaded was loaded before"
        for name, value in expected.items():
            sql = f"SELECT current_setting('{name}')"
            assert cursor.execute(sql).fetchone() == (value,), name
            for way in (f"SET {name} = '1'", f"SET GLOBAL {name} = '1'", f"RESET {name}"):
                with pytest.raises(EngineError):
                    cursor.execute(way)
            assert cursor.execute(sql).fetchone() == (value,), name


def test_keys_to_a_store_are_told_behind_the_lock_those_of_now_and_for_one_place(
    tmp_path: Path,
) -> None:
    keys = ("the-first-id", "planted-secret", "planted-token")
    remote = Remote(
        place="s3://lake/ours",
        endpoint="127.0.0.1:1",
        has_tls=False,
        region="us-east-1",
        path_style=True,
        keys=lambda: keys,
    )
    settings = DatabaseSettings(
        directories=(remote.place,),
        remote=remote,
        temp_dir=tmp_path / "spill",
        memory_max_bytes=1 << 30,
        temp_max_bytes=1 << 30,
    )
    sql = "SELECT name, storage, persistent, scope, secret_string FROM duckdb_secrets()"
    with Database.open(settings) as database:
        for key_id in ("the-first-id", "the-next-id"):
            keys = (key_id, *keys[1:])
            with database.cursor() as cursor:
                ((*where, told),) = cursor.execute(sql).fetchall()
            assert where == ["warehouse", "memory", False, ["s3://lake/ours/"]]
            assert key_id in told
            assert "planted" not in told
        with database.cursor() as cursor:
            for way in (
                "SET GLOBAL allow_persistent_secrets = true",
                "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
                "SELECT * FROM 's3://lake/theirs/x.parquet'",
                "COPY (SELECT 1) TO 's3://lake/theirs/x.parquet'",
            ):
                with pytest.raises(EngineError) as refused:
                    cursor.execute(way)
                assert "HTTP" not in str(refused.value), "refused before anybody is asked"


async def test_a_cancelled_statement_is_interrupted_at_once(database: Database) -> None:
    began = time.monotonic()

    with anyio.move_on_after(0.2):
        await database.run(
            lambda c: c.execute("SELECT count(*) FROM range(1e12::BIGINT)").fetchall()
        )

    assert time.monotonic() - began < 8
    assert await database.run(lambda c: c.execute("SELECT 1").fetchall()) == [(1,)]


async def kept(database: Database, sql: str) -> int:
    """Run `sql` on a session that keeps its cursor, and return which cursor it was."""

    def work(cursor: Connection) -> int:
        cursor.execute(sql).fetchall()
        session.keep()
        return id(cursor)

    with database.session() as session:
        return await session.run(work)


async def test_a_cursor_that_was_kept_is_used_again_and_another_is_not(database: Database) -> None:
    first = await kept(database, "SELECT 1")
    again = await kept(database, "SELECT 2")
    other = await database.run(lambda cursor: cursor)

    assert again == first
    assert id(other) == first
    with pytest.raises(EngineError):  # it was not kept, so it is closed
        other.execute("SELECT 4")


async def test_what_was_registered_on_a_cursor_is_nobody_elses(database: Database) -> None:
    await kept(database, "SELECT 1")
    rows = pa.table({"secret": [42]})
    await database.run(lambda cursor: cursor.register("mine", rows).execute("FROM mine"))

    with pytest.raises(EngineError, match="mine"):
        await kept(database, "SELECT secret FROM mine")


async def test_a_cursor_whose_statement_failed_or_was_interrupted_is_not_used_again(
    database: Database,
) -> None:
    first = await kept(database, "SELECT 1")
    with pytest.raises(EngineError):
        await kept(database, "SELECT error('so')")
    with anyio.move_on_after(0.2):
        await kept(database, "SELECT count(*) FROM range(1e12::BIGINT)")

    assert not database._cursors._idle
    assert first


def test_names_and_texts_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert literal("a'b") == "'a''b'"


TAKEN_MIB = 100
LARGE = f"SELECT len(list(repeat('x', 1000000) || i)) FROM range({TAKEN_MIB}) t(i)"


def data_mib() -> int:
    """Return what the kernel counts against `RLIMIT_DATA`."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize() >> 20


def three_times(cursor: Connection) -> None:
    for _ in range(3):
        cursor.execute(LARGE).fetchall()


async def test_what_the_engine_has_freed_is_given_back_at_once_when_it_is_asked_for(
    database: Database,
) -> None:
    give_back()
    before = data_mib()
    await database.run(lambda cursor: cursor.execute(LARGE).fetchall())
    kept = data_mib() - before
    give_back()
    assert kept > TAKEN_MIB // 2, "it keeps it for a second: else there is nothing to show"
    assert data_mib() - before < TAKEN_MIB // 4


async def test_what_the_engine_has_freed_is_given_back_after_a_while_by_itself(
    database: Database,
) -> None:
    """Of threads that do nothing any more, too: each would keep what its last statements had."""
    give_back()
    before = data_mib()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(database.run, three_times)
    deadline = time.monotonic() + 15
    while data_mib() - before > TAKEN_MIB:
        assert time.monotonic() < deadline, "the engine sits on what it has freed"
        await anyio.sleep(0.1)
