"""Collections that are derived from a table: what is written there is found, and nothing else."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config, EmbeddingConfig
from lakehouse.embedding import ollama as ours
from lakehouse.state import DataDirectory
from lakehouse.vectors import following, sources
from tests import object_store
from tests.embedding.ollama_double import running
from tests.services import client_of

COLUMNS = [
    {"name": "id", "type": "long"},
    {"name": "body", "type": "string"},
    {"name": "lang", "type": "string"},
]
SOURCE = {"table": "notes", "id": "id", "text": "body", "metadata": ["lang"]}
PLACE = "/v1/vectors/index/found"
WORDS = [
    "river",
    "mountain",
    "kettle",
    "bicycle",
    "winter",
    "violin",
    "bread",
    "harbour",
    "engine",
    "letter",
]


@asynccontextmanager
async def opened(folder: Path, **config: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Lakehouse]]:
    settings = Config(storage=object_store.chosen(folder / "data"), **config)
    with DataDirectory.open(folder / "data") as directory:
        async with (
            open_lakehouse(settings, directory) as lake,
            client_of(create_app(lake)) as client,
        ):
            yield client, lake


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(tmp_path) as (client, _):
        await made(client)
        yield client


async def made(client: httpx.AsyncClient, **more: Any) -> None:
    body = {"name": "notes", "columns": COLUMNS}
    assert (await client.post("/v1/tables", json=body)).status_code == 201
    answer = await client.post(
        "/v1/vectors/index", json={"name": "found", "source": SOURCE, **more}
    )
    assert answer.status_code == 201, answer.text


async def write(
    client: httpx.AsyncClient, rows: Sequence[Mapping[str, Any]], mode: str = "append", **more: Any
) -> httpx.Response:
    body = "\n".join(json.dumps(row) for row in rows).encode()
    query = {"name": "notes", "mode": mode, "format": "ndjson", **more}
    answer = await client.post("/v1/ingest", params=query, content=body)
    assert answer.status_code == 200, answer.text
    return answer


async def info(client: httpx.AsyncClient) -> Any:
    return (await client.get(PLACE)).json()["source"]


async def current(client: httpx.AsyncClient) -> Any:
    for _ in range(400):
        said = await info(client)
        if said["state"] == "current":
            return said
        await asyncio.sleep(0.05)
    raise AssertionError(said)


async def items(client: httpx.AsyncClient) -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(f"{PLACE}/items", params={"limit": 1000, **cursor})).json()
        for each in page["items"]:
            assert each["id"] not in found
            found[each["id"]] = (each["text"], each["metadata"])
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def rows(client: httpx.AsyncClient) -> dict[str, tuple[str, Any]]:
    """Return what the items should be, by SQL over the table."""
    sql = "SELECT id, body, lang FROM notes WHERE id IS NOT NULL AND trim(body) <> ''"
    answer = await client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    return {str(name): (body, {"lang": lang}) for name, body, lang in answer.json()["rows"]}


def row(number: int, text: str, lang: str | None = "en") -> dict[str, Any]:
    return {"id": number, "body": text, "lang": lang}


async def test_what_a_write_acknowledged_the_next_search_finds(client: httpx.AsyncClient) -> None:
    answer = await write(client, [row(1, "the cat sat on the mat"), row(2, "stocks fell", "de")])
    assert answer.headers["x-lakehouse-index"] == "ready"
    question = {"text": "a cat", "k": 5, "filter": {"lang": "en"}}
    found = (await client.post(f"{PLACE}/search", json=question)).json()["results"]
    assert [(each["id"], each["metadata"]) for each in found] == [("1", {"lang": "en"})]
    said = await info(client)
    assert said["state"] == "current"
    assert said["snapshot_id"] == said["table_snapshot_id"] == answer.json()["snapshot_id"]
    assert (said["lag_s"], said["skipped"], said["detail"]) == (0, 0, None)


async def test_a_write_to_a_table_that_nothing_follows_says_nothing_of_an_index(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(
        "/v1/ingest", params={"name": "other", "format": "ndjson"}, content=b'{"a":1}'
    )
    assert answer.status_code == 200
    assert "x-lakehouse-index" not in answer.headers


async def change(client: httpx.AsyncClient, chance: random.Random) -> None:
    """Do one of the things that change a table."""
    some = sorted({chance.randrange(40) for _ in range(chance.randrange(1, 8))})
    said = [row(each, " ".join(chance.choices(WORDS, k=4)), chance.choice("ab")) for each in some]
    listed = ", ".join(map(str, some))
    place = "/v1/tables/notes"
    what = chance.random()
    if what < 0.3:
        await write(client, said, "upsert", key="id")
    elif what < 0.45:
        await client.post(f"{place}/delete", json={"where": f"id IN ({listed})"})
    elif what < 0.6:
        text = chance.choice(["'river'", "''", "NULL", "body || ' again'"])
        await client.post(
            f"{place}/update", json={"set": {"body": text}, "where": f"id IN ({listed})"}
        )
    elif what < 0.7:
        await write(client, said, "overwrite")
    elif what < 0.8:
        old = (await client.get(f"{place}/snapshots")).json()["items"]
        if old:
            to = chance.choice(old)["snapshot_id"]
            await client.post(f"{place}/rollback", json={"to": to})
    elif what < 0.9:
        answer = await client.post("/v1/maintenance/run", json={"table": "notes"})
        assert answer.status_code == 200, answer.text
    else:
        new = [row(1000 + chance.randrange(10**6), each["body"]) for each in said]
        await write(client, new)


@pytest.mark.parametrize("seed", range(4))
async def test_the_items_are_the_rows_whatever_changed_them(tmp_path: Path, seed: int) -> None:
    """Changes of every kind, and a start now and then with changes that nobody followed."""
    chance = random.Random(seed)
    async with opened(tmp_path) as (client, _):
        await made(client)
    for _ in range(3):
        async with opened(tmp_path) as (client, _):
            for _ in range(8):
                await change(client, chance)
                assert await items(client) == await rows(client)
        async with opened(tmp_path) as (client, lake):
            lake.vectors.following.committed = lambda table: False  # type: ignore[method-assign]
            for _ in range(4):
                await change(client, chance)
    async with opened(tmp_path) as (client, _):
        await current(client)
        assert await items(client) == await rows(client)


async def test_rows_that_cannot_be_items_are_counted_and_one_is_named(
    client: httpx.AsyncClient,
) -> None:
    await write(client, [row(1, "a river"), row(2, "a mountain")])
    known = [row(3, " \u00a0\n"), row(4, "x" * 262_145), row(5, "\U0001f12f\U00012345")]
    answer = await write(client, [*known, {"id": None, "body": "nobody", "lang": None}])
    assert answer.headers["x-lakehouse-index"] == "ready"
    said = await info(client)
    assert said["skipped"] == len(known) + 1
    assert "is no item" in said["detail"]
    assert set(await items(client)) == {"1", "2"}
    update = {"set": {"body": "'\U00012345'"}, "where": "id = 1"}
    assert (await client.post("/v1/tables/notes/update", json=update)).status_code == 200
    assert set(await items(client)) == {"2"}


async def test_of_two_rows_with_one_id_the_other_stays_when_one_goes(
    client: httpx.AsyncClient,
) -> None:
    await write(client, [row(1, "a river"), row(1, "a mountain", "de")])
    assert len(await items(client)) == 1
    await client.post("/v1/tables/notes/delete", json={"where": "body = 'a river'"})
    assert set(await items(client)) == {"1"}
    await client.post("/v1/tables/notes/delete", json={"where": "id = 1"})
    assert await items(client) == {}


async def test_many_rows_are_not_waited_for_and_a_search_can_wait(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK_ROWS", sources.BATCH_ROWS)
    many = [row(each, f"{WORDS[each % 8]} {each}") for each in range(9000)]
    answer = await write(client, many)
    assert answer.headers["x-lakehouse-index"] == "pending"
    question = {"text": "violin 8995", "k": 1, "wait_for": answer.json()["snapshot_id"]}
    found = await client.post(f"{PLACE}/search", json=question)
    assert found.status_code == 200, found.text
    assert (await info(client))["state"] == "current"
    assert len(await items(client)) == len(many)
    gone = await client.post("/v1/tables/notes/delete", json={"where": "id >= 10"})
    assert gone.headers["x-lakehouse-index"] == "ready"
    assert set(await items(client)) == {str(each) for each in range(10)}


@pytest.mark.parametrize(("wait_for", "status"), [(1, 404), (-1, 404), ("now", 400), (2**63, 404)])
async def test_a_search_waits_for_snapshots_that_there_are(
    client: httpx.AsyncClient, wait_for: Any, status: int
) -> None:
    question = {"text": "a", "wait_for": wait_for}
    answer = await client.post(f"{PLACE}/search", json=question)
    assert answer.status_code == status, answer.text


async def test_a_collection_without_a_table_has_nothing_to_wait_for(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/v1/vectors/index", json={"name": "plain", "dimension": 2})
    question = {"vector": [1, 0], "wait_for": 1}
    answer = await client.post("/v1/vectors/index/plain/search", json=question)
    assert answer.status_code == 400
    assert "derived from a table" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("add", {"items": [{"id": "a", "text": "b"}]}),
        ("delete", {"ids": ["1"]}),
        ("delete", {"filter": {"lang": "en"}}),
        ("documents", {"documents": [{"id": "a", "text": "b"}]}),
        ("merge", {"dest": "plain", "clear_source": True}),
    ],
)
async def test_nothing_but_its_table_changes_it(
    client: httpx.AsyncClient, path: str, body: Any
) -> None:
    await write(client, [row(1, "a river")])
    await client.post("/v1/vectors/index", json={"name": "plain", "dimension": 256})
    answer = await client.post(f"{PLACE}/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert "change the table" in answer.json()["detail"]
    assert set(await items(client)) == {"1"}


async def test_it_can_be_merged_into_another_which_is_its_own(client: httpx.AsyncClient) -> None:
    await write(client, [row(1, "a river")])
    await client.post("/v1/vectors/index", json={"name": "plain", "dimension": 256})
    answer = await client.post(f"{PLACE}/merge", json={"dest": "plain"})
    assert answer.json()["merged"] == 1
    answer = await client.post("/v1/vectors/index/plain/merge", json={"dest": "found"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"table": "nothing"}, 404, "no table"),
        ({"id": "ide"}, 400, "no column 'ide'; it has id, body, lang"),
        ({"text": "id"}, 400, "cannot come from the column 'id', which is long"),
        ({"metadata": ["lang", "size"]}, 400, "no column 'size'"),
        ({"table": ""}, 400, "table"),
        ({"key": "id"}, 400, "key"),
    ],
)
async def test_a_source_that_cannot_be_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, said: Any, status: int, words: str
) -> None:
    body = {"name": "other", "source": {**SOURCE, **said}}
    answer = await client.post("/v1/vectors/index", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert (await client.get("/v1/vectors/index")).json()["names"] == ["found"]


async def test_declared_columns_are_filled_from_the_table(client: httpx.AsyncClient) -> None:
    columns = [*COLUMNS, {"name": "at", "type": "timestamptz"}, {"name": "far", "type": "double"}]
    await client.post("/v1/tables", json={"name": "typed", "columns": columns})
    source = {"table": "TYPED", "id": "ID", "text": "Body"}
    body = {"name": "typed", "source": source, "columns": {"at": "timestamp", "far": "float"}}
    answer = await client.post("/v1/vectors/index", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["source"]["metadata"] == ["at", "far"]
    told = (
        b'{"id":1,"body":"a river","at":"2024-01-01T00:00:00Z","far":1.5}\n'
        b'{"id":2,"body":"a brook","at":"2025-01-01T00:00:00Z","far":2.5}\n'
    )
    query = {"name": "typed", "format": "ndjson", "mode": "append"}
    assert (await client.post("/v1/ingest", params=query, content=told)).status_code == 200
    question = {"text": "water", "filter": {"at": {"$gte": "2024-06-01T00:00:00Z"}}}
    found = (await client.post("/v1/vectors/index/typed/search", json=question)).json()
    assert [each["id"] for each in found["results"]] == ["2"]
    wrong = {**body, "name": "wrong", "columns": {"at": "integer"}}
    answer = await client.post("/v1/vectors/index", json=wrong)
    assert answer.status_code == 400
    assert "takes one of int, long" in answer.json()["detail"]


async def test_a_table_that_goes_and_comes_is_followed_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.05)
    await write(client, [row(1, "a river")])
    await client.delete("/v1/tables/notes")
    said = await info(client)
    assert said["state"] == "failed"
    assert said["table_snapshot_id"] is None
    assert "no table" in said["detail"]
    assert set(await items(client)) == {"1"}
    await client.post("/v1/tables", json={"name": "notes", "columns": COLUMNS})
    await write(client, [row(2, "a mountain")])
    await current(client)
    assert set(await items(client)) == {"2"}


async def test_a_column_that_is_renamed_is_told_and_the_collection_stays(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.05)
    await write(client, [row(1, "a river")])

    async def rename(old: str, new: str) -> None:
        changes = {"changes": [{"op": "rename", "name": old, "to": new}]}
        answer = await client.post("/v1/tables/notes/schema", json=changes)
        assert answer.status_code == 200, answer.text

    await rename("body", "words")
    answer = await client.post("/v1/tables/notes/delete", json={"where": "id = 1"})
    assert answer.status_code == 200
    assert answer.headers["x-lakehouse-index"] == "pending"
    said = await info(client)
    assert said["state"] == "failed"
    assert "no column 'body'" in said["detail"]
    ready = (await client.get("/ready")).text
    assert "does not follow the table" in ready
    await rename("words", "body")
    await current(client)
    assert await items(client) == {}


async def test_what_is_erased_is_gone_from_the_files_of_the_collection(tmp_path: Path) -> None:
    async with opened(tmp_path) as (client, _):
        await made(client)
        await write(client, [row(each, f"river {each}") for each in range(30)])
        await write(client, [row(99, "the marker Wolpertinger")])
        vectors = tmp_path / "data" / "warehouse" / "vectors"
        is_local = vectors.exists()  # of a bucket its server has the files
        if is_local:
            assert "Wolpertinger" in contents(vectors)
        place = "/v1/tables/notes/delete"
        answer = await client.post(place, json={"where": "id = 99", "erase": True})
        assert answer.status_code == 200, answer.text
        if is_local:
            assert "Wolpertinger" not in contents(vectors)
        assert await items(client) == await rows(client)
        found = await client.post(f"{PLACE}/search", json={"text": "river 7", "k": 1})
        assert [each["id"] for each in found.json()["results"]] == ["7"]
        await write(client, [row(100, "after it")])
        assert "100" in await items(client)


def contents(folder: Path) -> str:
    files = [each for each in folder.rglob("*") if each.is_file()]
    return "".join(each.read_bytes().decode("latin-1") for each in files)


async def test_a_dropped_collection_is_followed_no_more(client: httpx.AsyncClient) -> None:
    assert (await client.delete(PLACE)).status_code == 204
    answer = await write(client, [row(1, "a river")])
    assert "x-lakehouse-index" not in answer.headers


async def test_a_model_that_is_away_neither_fails_nor_delays_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "RETRY_S", 0.001)
    monkeypatch.setattr(following, "RETRY_S", 0.05)
    with running() as ollama:
        embedding = EmbeddingConfig(ollama_url=ollama.url)
        async with opened(tmp_path, embedding=embedding) as (client, _):
            await made(client, model="nomic-embed-text")
            ollama.failures = [500] * 10_000
            answer = await write(client, [row(1, "a river")])
            assert answer.headers["x-lakehouse-index"] == "pending"
            for _ in range(100):
                said = await info(client)
                if said["state"] == "failed":
                    break
                await asyncio.sleep(0.05)
            assert said["state"] == "failed", said
            assert said["lag_s"] > 0
            assert await items(client) == {}
            ollama.failures.clear()
            await current(client)
            assert set(await items(client)) == {"1"}


async def test_texts_that_did_not_change_are_not_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watermark that is lost, as after a restore, has all rows compared with all items."""
    async with opened(tmp_path) as (client, lake):
        await made(client)
        await write(client, [row(each, f"river {each}") for each in range(50)])
        lake.vectors.following.committed = lambda table: False  # type: ignore[method-assign]
        await client.post("/v1/tables/notes/delete", json={"where": "id < 10"})
        await write(client, [row(60, "a mountain")])
        lake.vectors.shelf.ledger._state.write(
            lambda tx: tx.execute("DELETE FROM watermark").rowcount
        )
    async with opened(tmp_path) as (client, lake):
        await current(client)
        assert await items(client) == await rows(client)
        stats = (await client.get("/v1/embed/stats")).json()
        assert stats["misses"] == 1
