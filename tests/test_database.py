"""The lock holds on every cursor, and what a cursor computes does not depend on the host."""

import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from lakehouse.database import Database, DatabaseSettings, EngineError, literal, quoted


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


async def test_a_cancelled_statement_is_interrupted_at_once(database: Database) -> None:
    began = time.monotonic()

    with anyio.move_on_after(0.2):
        await database.run(
            lambda c: c.execute("SELECT count(*) FROM range(1e12::BIGINT)").fetchall()
        )

    assert time.monotonic() - began < 8
    assert await database.run(lambda c: c.execute("SELECT 1").fetchall()) == [(1,)]


def test_names_and_texts_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert literal("a'b") == "'a''b'"
