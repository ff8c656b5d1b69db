"""Another engine and we change one table by turns, in any order: both read what was done to it."""

import random
from collections.abc import Callable
from typing import Any, TypeAlias

import duckdb
import httpx
import pytest

from tests.iceberg.engines import attached
from tests.services import ServerProcess

STEPS = 30
KEYS = 60
Rows: TypeAlias = dict[int, int]
"""What the table should have, by id."""


class Table:
    """One table, changed by DuckDB through the protocol and by requests of ours."""

    def __init__(self, name: str, engine: duckdb.DuckDBPyConnection, client: httpx.Client) -> None:
        self._engine = engine
        self._client = client
        self._theirs = f"lake.main.{name}"
        self._name = name
        engine.execute(f"CREATE TABLE {self._theirs} (id BIGINT, v BIGINT)")

    def by_them(self, sql: str) -> list[tuple[Any, ...]]:
        return self._engine.execute(sql.replace("TABLE", self._theirs)).fetchall()

    def by_us(self, path: str, body: Any) -> None:
        self.done(self._client.post(f"/v1/tables/{self._name}/{path}", json=body))

    def load(self, rows: Rows, mode: str) -> None:
        query = {"name": self._name, "format": "ndjson", "mode": mode}
        if mode in ("upsert", "delete"):
            query["key"] = "id"
        lines = "\n".join(f'{{"id":{each},"v":{value}}}' for each, value in rows.items())
        self.done(self._client.post("/v1/ingest", params=query, content=lines.encode()))

    def maintain(self) -> None:
        self.done(self._client.post("/v1/maintenance/run", json={"table": self._name}))

    def done(self, answer: httpx.Response) -> None:
        assert answer.is_success, answer.text

    def ours(self) -> Rows:
        sql = f"SELECT id, v FROM {self._name}"
        rows = self._client.post("/v1/sql", json={"sql": sql}).raise_for_status().json()["rows"]
        assert len({each for each, _ in rows}) == len(rows), "a row is there twice"
        return dict(map(tuple, rows))


def some(rows: Rows, number: random.Random) -> list[int]:
    return sorted(number.sample(sorted(rows), min(len(rows), number.randint(0, 6))))


def fresh(rows: Rows, number: random.Random) -> Rows:
    free = [each for each in range(KEYS) if each not in rows]
    found = number.sample(free, min(len(free), number.randint(1, 5)))
    return {each: number.randint(0, 999) for each in found}


def listed(ids: list[int]) -> str:
    return f"id IN ({', '.join(map(str, ids)) or 'NULL'})"


def they_insert(table: Table, rows: Rows, number: random.Random) -> None:
    for each, value in (new := fresh(rows, number)).items():
        table.by_them(f"INSERT INTO TABLE VALUES ({each}, {value})")
    rows |= new


def they_delete(table: Table, rows: Rows, number: random.Random) -> None:
    gone = some(rows, number)
    table.by_them(f"DELETE FROM TABLE WHERE {listed(gone)}")
    for each in gone:
        del rows[each]


def they_update(table: Table, rows: Rows, number: random.Random) -> None:
    ids = some(rows, number)
    table.by_them(f"UPDATE TABLE SET v = v + 1 WHERE {listed(ids)}")
    rows |= {each: rows[each] + 1 for each in ids}


def we_append(table: Table, rows: Rows, number: random.Random) -> None:
    if new := fresh(rows, number):
        table.load(new, "append")
    rows |= new


def we_upsert_new(table: Table, rows: Rows, number: random.Random) -> None:
    if new := fresh(rows, number):
        table.load(new, "upsert")
    rows |= new


def we_upsert(table: Table, rows: Rows, number: random.Random) -> None:
    new = {**fresh(rows, number), **{each: number.randint(0, 999) for each in some(rows, number)}}
    if new:
        table.load(new, "upsert")
    rows |= new


def we_delete(table: Table, rows: Rows, number: random.Random) -> None:
    gone = some(rows, number)
    table.by_us("delete", {"where": listed(gone), "erase": number.random() < 0.3})
    for each in gone:
        del rows[each]


def we_update(table: Table, rows: Rows, number: random.Random) -> None:
    ids = some(rows, number)
    table.by_us("update", {"set": {"v": "v + 1"}, "where": listed(ids)})
    rows |= {each: rows[each] + 1 for each in ids}


def we_overwrite(table: Table, rows: Rows, number: random.Random) -> None:
    new = fresh({}, number)
    table.load(new, "overwrite")
    rows.clear()
    rows |= new


def we_maintain(table: Table, rows: Rows, number: random.Random) -> None:
    table.maintain()


Step: TypeAlias = Callable[[Table, Rows, random.Random], None]
ALL: list[Step] = [
    *[they_insert, they_delete, they_delete, they_update],
    *[we_append, we_upsert_new, we_upsert, we_delete, we_update, we_maintain],
]
SELDOM: list[Step] = [we_overwrite]


@pytest.mark.parametrize("seed", [0, *[pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3)]])
def test_both_read_what_was_done(client: httpx.Client, server: ServerProcess, seed: int) -> None:
    client.timeout = httpx.Timeout(60)
    number = random.Random(seed)
    rows: Rows = {}
    with duckdb.connect() as engine:
        attached(engine, server, "AUTHORIZATION_TYPE 'none'")
        table = Table(f"turns_{seed}", engine, client)
        done: list[str] = []
        for _ in range(STEPS):
            step = number.choice(SELDOM if number.random() < 0.04 else ALL)
            step(table, rows, number)
            done.append(step.__name__)
            assert table.ours() == rows, done
            assert dict(table.by_them("SELECT id, v FROM TABLE")) == rows, done
