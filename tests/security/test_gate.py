"""Whatever SQL a reader sends, nothing but a SELECT over what was granted ever runs.

A reader of the namespace `shop` sends statements made at random to the whole app, in this process;
`witness.py` says what they did. `LAKEHOUSE_TEST_LONG=1` sends more, of other seeds;
`LAKEHOUSE_FUZZ=N` sends N of a seed that nobody has tried.
"""

import json
import os
import secrets
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import one_of

from lakehouse.api.edge import Edge
from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.auth import Grant, TokenCreate
from lakehouse.config import Config, MaintenanceConfig
from lakehouse.state import DataDirectory
from tests.security.sql import Words, anything, named, wrapped
from tests.security.witness import (
    MACROS,
    Folders,
    Held,
    Listener,
    catalog_holds,
    engine_holds,
)
from tests.services import client_of

CONFIG = Config(maintenance=MaintenanceConfig(enabled=False))
"""Maintenance looks into every table by itself."""
TIMEOUT_S = 1.0
EXAMPLES = 40
LONG_EXAMPLES = 1_200
FUZZ = int(os.environ.get("LAKEHOUSE_FUZZ", "0"))
SEEDS = [secrets.randbits(32)] if FUZZ else [1, 2, 3]
SECRET = "kept-from-readers"
"""In every row, column and file that this reader may not see, and in no statement."""
FORMS = [
    *(SECRET, SECRET[::-1], SECRET.upper(), SECRET.encode().hex(), SECRET.encode().hex().upper()),
    *(b64encode(SECRET.encode()).decode().rstrip("="), "root:x:0"),
]
NO_FAULT = {"/problems/statement-timeout", "/problems/memory-pressure"}
GRANTED = ("shop.orders", "shop.people")
HIDDEN = ("vault.secrets", f"vault.{SECRET}", "main.secrets")

# What random statements did once, as short as it could be made.
FOUND = [
    # Names that the engine writes back without their quotes.
    "SELECT \"1; COPY (SELECT 1) TO 'escape.csv' --\".* FROM shop.orders",
    "SELECT \"1; COPY (SELECT 1) TO '{warehouse}/tables/escape' --\".* FROM shop.orders",
    "SELECT \"(SELECT content FROM read_text('{warehouse}/objects/raw/*/*')) --\".* "
    "FROM shop.orders",
    'SELECT COLUMNS("1; SET threads = 1 --".*) FROM shop.orders',
    "SELECT $\"1; COPY (SELECT 1) TO '{spool}/escape' --\"",
]


@dataclass
class House:
    """A lakehouse, a reader at its door, and the witness."""

    ask: Callable[[str], httpx.Response]
    words: Words
    places: dict[str, str]
    """By the mark that stands for it in a statement."""
    folders: Folders
    listener: Listener
    hold: Callable[[], Held]
    held: Held
    run: Callable[[str], Any]
    """Behind the gate, as if it were not there."""

    def placed(self, sql: str) -> str:
        for mark, place in self.places.items():
            sql = sql.replace(mark, place)
        return sql

    def seen(self) -> list[str]:
        """Return what was done since this was called last."""
        before, self.held = self.held, self.hold()
        changed = [what for what in before if before[what] != self.held[what]]
        heard, self.listener.heard = self.listener.heard, []
        return [*self.folders.events(), *heard, *(f"changed the {what}" for what in changed)]

    def send(self, sql: str) -> httpx.Response:
        """Send a statement; fail when it did more than a SELECT may, or told what is hidden."""
        answer = self.ask(self.placed(sql))
        body = answer.content.decode(errors="replace")
        told = [form for form in FORMS if form in body]
        assert not told, f"the answer has {told}: {body[:500]}"
        assert not (seen := self.seen()), f"it {seen}: {body[:500]}"
        assert answer.status_code < 500 or answer.json()["type"] in NO_FAULT, body
        return answer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("gate")
    canary = root / "canary"
    canary.mkdir()
    for name in ("canary.csv", "canary.json", "canary.parquet", "canary.lance", "canary.db"):
        (canary / name).write_text(f'{{"a": "{SECRET}"}}\n')
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).chdir(canary)
        directory = stack.enter_context(DataDirectory.open(root / "data"))
        portal = stack.enter_context(start_blocking_portal())
        opened = open_lakehouse(CONFIG, directory)
        lake = stack.enter_context(portal.wrap_async_context_manager(opened))
        yield stack.enter_context(furnished(lake, directory, canary, portal))


@contextmanager
def furnished(
    lake: Lakehouse, directory: DataDirectory, canary: Path, portal: BlockingPortal
) -> Iterator[House]:
    app, granted = portal.call(furnish, lake)
    client = client_of(app)
    token = lake.tokens.create(TokenCreate("reader", [Grant("reader", "shop")])).token
    client.headers["Authorization"] = f"Bearer {token}"

    def ask(sql: str) -> httpx.Response:
        body = json.dumps({"sql": sql, "timeout_s": TIMEOUT_S})
        return portal.call(partial(client.post, "/v1/sql", content=body))

    def hold() -> Held:
        engine = portal.call(lake.database.run, partial(engine_holds, but_relations_of=granted))
        return engine | catalog_holds(directory.catalog_file)

    tables, objects = directory.warehouse / "tables", directory.warehouse / "objects"
    with ExitStack() as stack:
        listener = stack.enter_context(Listener())
        with lake.database.cursor() as cursor:
            words = Words.of(cursor)
        for name in GRANTED:
            assert ask(f"SELECT * FROM {name}").is_success
        closed = (canary, objects, tables / "vault", tables / "main")
        folders = stack.enter_context(Folders((canary, tables, objects), closed))
        places = {
            "{canary}": str(canary),
            "{warehouse}": str(directory.warehouse),
            "{spool}": str(directory.spool),
            "{listener}": listener.address,
        }
        with lake.database.cursor() as cursor:
            yield House(ask, words, places, folders, listener, hold, hold(), cursor.execute)


async def furnish(lake: Lakehouse) -> tuple[Edge, frozenset[str]]:
    """Make what is granted and what is not; return the app and the uuids of what is."""
    app = create_app(lake)
    async with client_of(app.from_operator) as operator:

        async def make(method: str, path: str, body: Any) -> Any:
            answer = await operator.request(method, path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        for namespace in ("shop", "vault"):
            await make("POST", "/v1/namespaces", {"name": namespace})
        uuids = []
        for name in (*GRANTED, *HIDDEN):
            seen = "name" if name in GRANTED else SECRET
            columns = [{"name": "id", "type": "long"}, {"name": seen, "type": "string"}]
            table = await make("POST", "/v1/tables", {"name": name, "columns": columns})
            await make("POST", f"/v1/tables/{name}/rows", {"rows": [{"id": 1, seen: seen}]})
            if name in GRANTED:
                uuids.append(table["uuid"])
        await make("PUT", "/v1/storage/put/raw/canary.csv", SECRET)
    return app, frozenset(uuids)


def sent(house: House, kind: Any, examples: int, number: int | None = None) -> None:
    """Send statements of a kind; the same each time where no seed is given."""

    @settings(
        max_examples=FUZZ or examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=kind)
    def run(case: tuple[str, bool]) -> None:
        sql, is_refused = case
        answer = house.send(sql)
        assert not (is_refused and answer.is_success), answer.text

    (run if number is None else seed(number)(run))()
    assert house.run(MACROS).fetchall() == []
    assert house.send("SELECT name FROM shop.orders").json()["rows"] == [["name"]]


def kinds(house: House) -> Any:
    """Statements, each with whether it must be refused whatever it means."""
    return one_of(
        anything(house.words).map(lambda sql: (sql, False)),
        named().map(lambda sql: (sql, False)),
        wrapped().map(lambda sql: (sql, True)),
    )


@pytest.mark.parametrize(
    ("sql", "after"),
    [
        ("COPY (SELECT 1) TO '{warehouse}/tables/escape.csv'", ""),
        ("FROM read_text('{warehouse}/objects/raw/*/*')", ""),
        ("FROM glob('{warehouse}/tables/*/*/*/*.parquet')", ""),
        ("CREATE TABLE escape AS SELECT 1", "DROP TABLE escape"),
        ("CREATE VIEW escape AS SELECT 1", "DROP VIEW escape"),
        ("CREATE SECRET escape (TYPE s3)", "DROP SECRET escape"),
    ],
)
def test_the_witness_sees_what_the_engine_does(house: House, sql: str, after: str) -> None:
    house.run(house.placed(sql))
    assert house.seen()
    if after:
        house.run(after)
        assert house.seen()


def test_the_witness_hears_who_calls(house: House) -> None:
    host, _, port = house.listener.address.partition(":")
    socket.create_connection((host, int(port))).close()
    deadline = time.monotonic() + 5
    while not (seen := house.seen()):
        assert time.monotonic() < deadline, "nobody heard it"
    assert seen == ["a connection to the listener"]


def test_nothing_but_a_select_over_what_is_granted_runs(house: House) -> None:
    sent(house, kinds(house), EXAMPLES)


@pytest.mark.parametrize("sql", FOUND)
def test_what_was_found_once_is_refused(house: House, sql: str) -> None:
    assert not house.send(sql).is_success


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="a minute or more")
@pytest.mark.parametrize("number", SEEDS)
def test_no_seed_finds_a_way_around_the_gate(house: House, number: int) -> None:
    sent(house, kinds(house), LONG_EXAMPLES, number)
