"""Collections that are derived from a table, whatever its names mean, and whoever else follows."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.auth import NOBODY, Grant, TokenCreate, acting
from lakehouse.config import EmbeddingConfig
from lakehouse.names import TableName
from lakehouse.vectors import following, sources, taking_over
from tests.embedding.ollama_double import running
from tests.vectors.test_derived import (
    COLUMNS,
    PLACE,
    SOURCE,
    client,
    contents,
    current,
    info,
    items,
    made,
    opened,
    row,
    rows,
    write,
)

__all__ = ["client"]
STATIC = "static-minilm-256"


async def evolve(client: httpx.AsyncClient, *changes: dict[str, Any]) -> None:
    answer = await client.post("/v1/tables/notes/schema", json={"changes": list(changes)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("texts", [["a river", "a mountain"], ["a mountain", "a river"]])
async def test_of_two_rows_with_one_id_the_item_is_one_that_is_still_there(
    client: httpx.AsyncClient, texts: list[str]
) -> None:
    await write(client, [row(1, text) for text in texts])
    answer = await client.post("/v1/tables/notes/delete", json={"where": "body = 'a river'"})
    assert answer.headers["x-lakehouse-index"] == "ready"
    assert await items(client) == await rows(client) == {"1": ("a mountain", {"lang": "en"})}


async def test_a_name_that_is_another_columns_by_now_gives_its_values(
    client: httpx.AsyncClient,
) -> None:
    await write(client, [row(1, "a river", "de")])
    await evolve(client, {"op": "drop", "name": "lang"})
    await evolve(client, {"op": "add", "name": "lang", "type": "string"})
    await current(client)
    assert await items(client) == await rows(client) == {"1": ("a river", {"lang": None})}


async def test_a_change_of_columns_that_nobody_saw_is_found_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (client, lake):
        await made(client)
        await write(client, [row(1, "a river", "de")])
        lake.vectors.following.committed = lambda table: False  # type: ignore[method-assign]
        await evolve(client, {"op": "drop", "name": "lang"})
        await evolve(client, {"op": "add", "name": "lang", "type": "string"})
    async with opened(tmp_path) as (client, _):
        await current(client)
        assert await items(client) == await rows(client) == {"1": ("a river", {"lang": None})}


async def test_a_table_that_gets_the_name_is_followed(client: httpx.AsyncClient) -> None:
    await write(client, [row(1, "a river")])
    answer = await client.post("/v1/tables", json={"name": "second", "columns": COLUMNS})
    assert answer.status_code == 201
    await write(client, [row(2, "a mountain")], name="second")
    gone = await client.post("/v1/tables/notes/rename", json={"to": "first"})
    assert gone.headers["x-lakehouse-index"] == "pending"
    assert "does not follow the table" in (await client.get("/ready")).text
    came = await client.post("/v1/tables/second/rename", json={"to": "notes"})
    assert came.headers["x-lakehouse-index"] == "ready"
    assert set(await items(client)) == {"2"}
    await client.delete("/v1/tables/notes")
    assert (await info(client))["state"] == "failed"
    back = await client.post("/v1/tables/first/rename", json={"to": "notes"})
    assert back.headers["x-lakehouse-index"] == "ready"
    assert set(await items(client)) == {"1"}


async def test_a_table_that_is_brought_back_is_followed(client: httpx.AsyncClient) -> None:
    await write(client, [row(1, "a river")])
    await client.delete("/v1/tables/notes")
    assert "does not follow the table" in (await client.get("/ready")).text
    answer = await client.post("/v1/tables/notes/undrop", json={})
    assert answer.status_code < 300, answer.text
    assert (await current(client))["detail"] is None
    assert "does not follow the table" not in (await client.get("/ready")).text


async def test_a_column_that_is_named_twice_is_one(client: httpx.AsyncClient) -> None:
    body = {"name": "other", "source": {**SOURCE, "metadata": ["lang", "LANG"]}}
    answer = await client.post("/v1/vectors/index", json=body)
    assert answer.json()["source"]["metadata"] == ["lang"]
    answer = await write(client, [row(1, "a river")])
    assert answer.headers["x-lakehouse-index"] == "ready"


async def test_ten_thousand_rows_are_waited_for(client: httpx.AsyncClient) -> None:
    answer = await write(client, [row(each, f"a {each}") for each in range(10_000)])
    assert answer.headers["x-lakehouse-index"] == "ready"
    assert await items(client) == a_rows(10_000)
    answer = await write(client, [row(each, f"b {each}") for each in range(10_001)], "overwrite")
    assert answer.headers["x-lakehouse-index"] == "pending"
    await current(client)
    assert (await client.get(PLACE)).json()["length"] == 10_001


def a_rows(count: int) -> dict[str, Any]:
    return {str(each): (f"a {each}", {"lang": "en"}) for each in range(count)}


async def test_slow_collections_keep_no_turn_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of a model that does not come to its end, and one that is there at once."""
    stuck, put = asyncio.Event(), taking_over.take_over

    async def take_over(collection: Any, *rest: Any) -> None:
        if collection.known.definition.model.provider == "ollama":
            await stuck.wait()
        await put(collection, *rest)

    monkeypatch.setattr(following, "take_over", take_over)
    with running() as ollama:
        embedding = EmbeddingConfig(ollama_url=ollama.url)
        async with opened(tmp_path, embedding=embedding) as (client, _):
            await made(client, model=STATIC)
            for number in range(3):
                body = {"name": f"slow_{number}", "source": SOURCE, "model": "nomic-embed-text"}
                assert (await client.post("/v1/vectors/index", json=body)).status_code == 201
            began = time.monotonic()
            answer = await write(client, [row(1, "a river")])
            assert answer.headers["x-lakehouse-index"] == "pending"
            assert set(await items(client)) == {"1"}
            assert time.monotonic() - began < following.COMMIT_WAIT_S / 2
            stuck.set()


async def test_all_that_follow_a_table_are_waited_for_together(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        body = {"name": f"other_{number}", "source": SOURCE}
        assert (await client.post("/v1/vectors/index", json=body)).status_code == 201

    async def take_over(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(following, "take_over", take_over)
    monkeypatch.setattr(following, "COMMIT_WAIT_S", 1.0)
    began = time.monotonic()
    answer = await write(client, [row(1, "a river")])
    assert answer.headers["x-lakehouse-index"] == "pending"
    assert time.monotonic() - began < 2.5


async def test_rows_that_another_model_knows_are_items_when_it_is_asked(tmp_path: Path) -> None:
    with running() as ollama:
        embedding = EmbeddingConfig(ollama_url=ollama.url)
        async with opened(tmp_path, embedding=embedding) as (client, _):
            await made(client, model=STATIC)
            await write(client, [row(1, "a river"), row(2, "\U00012345")])
            assert set(await items(client)) == {"1"}
            await reembed(client)
            await current(client)
            assert await items(client) == await rows(client)
            assert len(await items(client)) == 2


async def reembed(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{PLACE}/reembed", json={"model": "nomic-embed-text"})
    assert answer.status_code == 200, answer.text


async def test_what_is_erased_is_gone_from_the_files_of_older_models_too(tmp_path: Path) -> None:
    vectors = tmp_path / "data" / "warehouse" / "vectors"
    with running() as ollama:
        embedding = EmbeddingConfig(ollama_url=ollama.url)
        async with opened(tmp_path, embedding=embedding) as (client, _):
            await made(client, model=STATIC)
            await write(client, [row(1, "a river"), row(99, "the marker Wolpertinger")])
            await reembed(client)
            if vectors.exists():  # of a bucket its server has the files
                assert "Wolpertinger" in contents(vectors)
            erase = {"where": "id = 99", "erase": True}
            answer = await client.post("/v1/tables/notes/delete", json=erase)
            assert answer.status_code == 200, answer.text
            assert set(await items(client)) == {"1"}
            if vectors.exists():
                assert "Wolpertinger" not in contents(vectors)


async def test_who_erases_rows_need_not_know_of_the_collection(tmp_path: Path) -> None:
    async with opened(tmp_path) as (client, lake):
        await made(client)
        await write(client, [row(1, "a river")])
        before = lake.vectors.shelf.known["main.found"].folder
        with acting(NOBODY):
            await lake.vectors.replacing.forget(TableName("main", "notes"))
        assert lake.vectors.shelf.known["main.found"].folder != before
        assert set(await items(client)) == {"1"}


async def test_who_waits_for_a_collection_that_is_dropped_hears_it_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_over(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(following, "take_over", take_over)
    monkeypatch.setattr(following, "COMMIT_WAIT_S", 0.1)
    snapshot_id = (await write(client, [row(1, "a river")])).json()["snapshot_id"]
    question = {"text": "a", "wait_for": snapshot_id}
    waiting = asyncio.create_task(client.post(f"{PLACE}/search", json=question))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert (await client.delete(PLACE)).status_code == 204
    async with asyncio.timeout(5):
        assert (await waiting).status_code == 404


async def test_a_source_is_a_table_that_the_caller_may_read_and_its_readers_see_the_items(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (client, lake):
        await made(client)
        await write(client, [row(1, "a river")])
        await client.post("/v1/namespaces", json={"name": "open"})
        lake.tokens.create(TokenCreate("keeper", [Grant("admin")]))
        writer = lake.tokens.create(TokenCreate("writer", [Grant("writer", "open")])).token
        both = [Grant("writer", "open"), Grant("reader", "main.notes")]
        maker = lake.tokens.create(TokenCreate("maker", both)).token
        reader = lake.tokens.create(TokenCreate("reader", [Grant("reader", "open")])).token
        asked = {"name": "open.found", "source": SOURCE}

        async def send(token: str, method: str, path: str, body: Any = None) -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return await client.request(method, path, json=body, headers=headers)

        assert (await send(writer, "POST", "/v1/vectors/index", asked)).status_code == 404
        assert (await send(maker, "POST", "/v1/vectors/index", asked)).status_code == 201
        page = await send(reader, "GET", "/v1/vectors/index/open.found/items")
        assert [each["id"] for each in page.json()["items"]] == ["1"]
        assert (await send(reader, "GET", "/v1/tables/notes")).status_code == 404
        question = {"text": "river", "wait_for": 1}
        place = "/v1/vectors/index/open.found/search"
        assert (await send(reader, "POST", place, question)).status_code == 404


async def test_long_texts_are_embedded_and_written_few_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine gives 2,048 rows at once, however long."""
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1024 * 1024)
    sizes: list[int] = []

    async def take_over(collection: Any, reading: Any, put: Any, slow: Any) -> None:
        async def noted(collection: Any, rows: Any, gone: Any) -> int:
            sizes.append(rows.nbytes)
            return int(await put(collection, rows, gone))

        await taking_over.take_over(collection, reading, noted, slow)

    monkeypatch.setattr(following, "take_over", take_over)
    await write(client, [row(each, f"river {each} " * 1500) for each in range(300)])
    await current(client)
    assert await items(client) == await rows(client)
    assert sum(sizes) > 4 * max(sizes)
    assert max(sizes) < 1.1 * sources.CHUNK_BYTES


async def test_the_lag_grows_though_the_table_is_written_again_and_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(client, [row(0, "a river")])

    async def take_over(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(following, "take_over", take_over)
    monkeypatch.setattr(following, "COMMIT_WAIT_S", 0.0)
    began = time.monotonic()
    await write(client, [row(1, "a river")])
    after_first = time.monotonic()
    await asyncio.sleep(1)
    await write(client, [row(2, "a river")])
    least = time.monotonic() - after_first
    assert least <= (await info(client))["lag_s"] <= time.monotonic() - began + 0.1


@pytest.mark.parametrize(
    ("name", "type_", "words"),
    [
        ("body", "long", "the text cannot come from the column 'body', which is long"),
        ("id", "double", "the id cannot come from the column 'id', which is double"),
        ("lang", "long", "the column 'lang' of type string cannot come from the column 'lang'"),
    ],
)
async def test_a_column_of_another_type_is_told(
    client: httpx.AsyncClient, name: str, type_: str, words: str
) -> None:
    body = {"name": "typed", "source": SOURCE, "columns": {"lang": "string"}}
    assert (await client.post("/v1/vectors/index", json=body)).status_code == 201
    await evolve(client, {"op": "drop", "name": name})
    await evolve(client, {"op": "add", "name": name, "type": type_})
    for _ in range(100):
        said = (await client.get("/v1/vectors/index/typed")).json()["source"]
        if said["state"] == "failed" and words in said["detail"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(said)
