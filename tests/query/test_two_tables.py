"""A commit over two tables, read over HTTP while it happens: a join sees both of it or nothing."""

import threading

import httpx

from lakehouse.catalog import Column, Rows, TableName
from tests.query.conftest import SqlServer

COMMITS = 20
READERS = 3
JOIN = """
    SELECT (SELECT count(*) FROM debits), (SELECT count(*) FROM credits),
           (SELECT count(*) FROM debits JOIN credits USING (id))
"""


def test_a_join_never_sees_half_of_a_commit_over_two_tables(server: SqlServer) -> None:
    names = (TableName("main", "debits"), TableName("main", "credits"))
    for name in names:
        server.catalog.create_table(name, (Column("id", "long"),))
    stop = threading.Event()
    seen: set[tuple[int, int, int]] = set()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while not stop.is_set():
                    answer = client.post("/v1/sql", json={"sql": JOIN})
                    assert answer.status_code == 200, answer.text
                    seen.add(tuple(answer.json()["rows"][0]))
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        with server.database.cursor() as cursor:
            for number in range(COMMITS):
                rows = Rows(f"SELECT {number} AS id", (Column("id", "long"),))
                server.catalog.loading.commit(
                    [
                        server.catalog.loading.stage(cursor, name, rows, mode="append")
                        for name in names
                    ]
                )
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        for name in names:
            server.catalog.drop(name)

    assert not failures
    assert len(seen) > 1, "the readers saw the tables change"
    assert all(debits == credits == joined for debits, credits, joined in seen), seen
