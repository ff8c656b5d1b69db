"""Texts are embedded again, by another model or one that changed: whole, beside searches."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config, EmbeddingConfig, VectorsConfig
from lakehouse.embedding import ollama as ours
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors import reembedding
from tests.embedding.ollama_double import OllamaDouble, running
from tests.services import client_of, lakehouse_server

PLACE = "/v1/vectors/index/said"
MODEL = "nomic-embed-text"
KILLS = int(os.environ.get("LAKEHOUSE_TEST_KILLS", "3"))


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaDouble]:
    monkeypatch.setattr(ours, "RETRY_S", 0.001)
    monkeypatch.setattr(ours, "SURE_S", 0.0)
    with running() as double:
        yield double


@asynccontextmanager
async def opened(
    folder: Path, ollama: OllamaDouble, exact_max: int = 50_000
) -> AsyncIterator[tuple[Lakehouse, httpx.AsyncClient]]:
    config = Config(
        embedding=EmbeddingConfig(ollama_url=ollama.url),
        vectors=VectorsConfig(exact_max_rows=exact_max),
    )
    with DataDirectory.open(folder / "data") as directory:
        async with (
            open_lakehouse(config, directory) as lake,
            client_of(create_app(lake)) as client,
        ):
            yield lake, client


@pytest.fixture
async def served(
    tmp_path: Path, ollama: OllamaDouble
) -> AsyncIterator[tuple[Lakehouse, httpx.AsyncClient]]:
    """A lake, and a client of it, with a collection of forty texts that begin with their ids."""
    async with opened(tmp_path, ollama) as (lake, client):
        await client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
        await add(client, *range(40))
        yield lake, client


def item(number: int, said: str = "") -> dict[str, Any]:
    text = f"{number:03} " + "x" * (number * 3) + said
    return {"id": f"{number:03}", "text": text, "metadata": {"n": number, "said": said}}


async def add(client: httpx.AsyncClient, *numbers: int, said: str = "") -> None:
    items = [item(n, said) for n in numbers]
    answer = await client.post(f"{PLACE}/add", json={"items": items})
    assert answer.status_code == 200, answer.text


def renewed(ollama: OllamaDouble, digest: str = "def", dimension: int = 6) -> None:
    ollama.models[f"{MODEL}:latest"], ollama.dimension = digest, dimension


class Gate:
    """Holds up the calls of a double from the n-th text on."""

    def __init__(self, ollama: OllamaDouble) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        embed = ollama.embed

        def held(body: dict[str, object]) -> tuple[int, object]:
            self.reached.set()
            assert self.open.wait(20)
            return embed(body)

        ollama.embed = held  # type: ignore[method-assign]

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 20)


async def vectors_of(client: httpx.AsyncClient, *numbers: int) -> dict[str, list[float]]:
    ids = [f"{n:03}" for n in numbers]
    answer = await client.post(f"{PLACE}/get", json={"ids": ids, "with_vectors": True})
    return {each["id"]: each["vector"] for each in answer.json()["items"]}


async def test_a_collection_whose_model_changed_takes_texts_again(
    served: tuple[Lakehouse, httpx.AsyncClient], ollama: OllamaDouble
) -> None:
    _, client = served
    renewed(ollama)
    refused = await client.post(f"{PLACE}/add", json={"items": [item(50)]})
    assert refused.status_code == 409 and "`reembed`" in refused.json()["detail"]
    done = await client.post(f"{PLACE}/reembed")
    assert done.json() == {"embedded": 40, "model": MODEL, "digest": "def", "dimension": 6}
    told = (await client.get(PLACE)).json()
    assert (told["dimension"], told["length"]) == (6, 40)
    await add(client, 50)
    found = await client.post(f"{PLACE}/search", json={"text": item(7)["text"], "k": 50})
    assert len(found.json()["results"]) == 41
    assert {len(each) for each in (await vectors_of(client, 3, 50)).values()} == {6}
    assert [each["metadata"]["n"] for each in found.json()["results"]].count(7) == 1
    again = await client.post(f"{PLACE}/reembed", json={})
    assert again.json()["embedded"] == 0


async def test_it_is_the_same_after_a_restart_and_the_old_files_are_gone(
    tmp_path: Path, ollama: OllamaDouble
) -> None:
    folder = tmp_path / "data" / "warehouse" / "vectors"
    async with opened(tmp_path, ollama) as (_, client):
        await client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
        await add(client, *range(10))
        renewed(ollama)
        assert (await client.post(f"{PLACE}/reembed")).json()["embedded"] == 10
        before = await vectors_of(client, *range(10))
        assert len(list(folder.glob("*.lance"))) == 2, "who searches reads the old ones still"
    async with opened(tmp_path, ollama) as (_, client):
        assert await vectors_of(client, *range(10)) == before
        for _ in range(200):
            if len(list(folder.glob("*.lance"))) == 1:
                break
            await asyncio.sleep(0.05)
        assert len(list(folder.glob("*.lance"))) == 1
        assert (await client.delete(PLACE)).status_code == 204
        assert not list(folder.glob("*.lance"))


async def test_writes_and_searches_go_on_meanwhile_and_nothing_of_them_is_lost(
    served: tuple[Lakehouse, httpx.AsyncClient],
    ollama: OllamaDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, client = served
    monkeypatch.setattr(reembedding, "WAITED_FOR", 2)
    document = {"id": "doc", "text": "one. " * 300}
    await client.post(f"{PLACE}/documents", json={"documents": [document], "size": 200})
    gate = Gate(ollama)
    running = asyncio.create_task(
        client.post(f"{PLACE}/reembed", json={"model": "static-minilm-256"})
    )
    while (await client.get(PLACE)).json()["dimension"] == 4 and not running.done():
        # The texts of this model are known, and so embedded without asking it.
        await client.post(f"{PLACE}/search", json={"vector": [1, 1, 0, 0], "k": 3})
        await client.post(f"{PLACE}/delete", json={"ids": ["000", "001"]})
        again = await client.post(f"{PLACE}/add", json={"items": [item(2), item(3)]})
        assert again.status_code in (200, 409), again.text
    gate.open.set()
    assert (await running).status_code == 200, (await running).text
    told = (await client.get(PLACE)).json()
    assert (told["dimension"], told["model"]) == (256, "static-minilm-256")
    ids = [each["id"] for each in (await client.get(f"{PLACE}/items?limit=1000")).json()["items"]]
    assert len(ids) == len(set(ids)) == told["length"]
    assert [each for each in ids if each[0] != "d"] == [f"{n:03}" for n in range(2, 40)]
    assert {len(each) for each in (await vectors_of(client, 2, 3)).values()} == {256}


async def test_what_is_written_while_it_waits_for_the_model_is_embedded_after(
    served: tuple[Lakehouse, httpx.AsyncClient], ollama: OllamaDouble
) -> None:
    _, client = served
    static = {"name": "plain", "model": "static-minilm-256"}
    await client.post("/v1/vectors/index", json=static)
    place = "/v1/vectors/index/plain"
    await client.post(f"{place}/add", json={"items": [item(n, " plain") for n in range(20)]})
    gate = Gate(ollama)
    running = asyncio.create_task(client.post(f"{place}/reembed", json={"model": MODEL}))
    await gate.wait()
    second = await client.post(f"{place}/reembed", json={"model": MODEL})
    assert second.status_code == 409 and "being embedded again" in second.json()["detail"]
    assert (await client.post(f"{place}/optimize")).status_code == 409
    changed = [item(3, "changed"), item(70, "new")]
    assert (await client.post(f"{place}/add", json={"items": changed})).status_code == 200
    assert (await client.post(f"{place}/delete", json={"ids": ["005"]})).status_code == 200
    found = await client.post(f"{place}/search", json={"text": "new 070", "k": 100})
    assert len(found.json()["results"]) == 20
    gate.open.set()
    assert (await running).json()["dimension"] == 4
    got = await client.post(
        f"{place}/get", json={"ids": ["003", "005", "070"], "with_vectors": True}
    )
    there = {each["id"]: each for each in got.json()["items"]}
    assert sorted(there) == ["003", "070"]
    for number in (3, 70):
        text = f"search_document: {there[f'{number:03}']['text']}"
        first, second_number = there[f"{number:03}"]["vector"][:2]
        assert first / second_number == pytest.approx(len(text), rel=1e-5)


async def test_items_that_came_as_vectors_are_told_and_nothing_changes(
    served: tuple[Lakehouse, httpx.AsyncClient], ollama: OllamaDouble
) -> None:
    lake, client = served
    plain = [{"id": f"v{n}", "vector": [1, 0, 0, n]} for n in range(5)]
    await client.post(f"{PLACE}/add", json={"items": plain})
    renewed(ollama)
    refused = await client.post(f"{PLACE}/reembed")
    assert refused.status_code == 422
    assert "5 items of main.said have no text" in refused.json()["detail"]
    assert "delete them" in refused.json()["detail"]
    assert (await client.get(PLACE)).json()["dimension"] == 4
    await client.post(f"{PLACE}/delete", json={"ids": [each["id"] for each in plain]})
    assert (await client.post(f"{PLACE}/reembed")).json()["embedded"] == 40
    assert lake.vectors.shelf.ledger.dropped() != []


async def test_a_model_that_fails_half_way_leaves_all_as_it_was(
    served: tuple[Lakehouse, httpx.AsyncClient],
    ollama: OllamaDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, client = served
    monkeypatch.setattr(reembedding, "TEXTS_AT_ONCE", 10)
    renewed(ollama)
    ollama.failures = []
    embed, calls = ollama.embed, []

    def failing(body: dict[str, object]) -> tuple[int, object]:
        calls.append(body)
        return embed(body) if len(calls) < 3 else (500, {"error": "no"})

    ollama.embed = failing  # type: ignore[method-assign]
    assert (await client.post(f"{PLACE}/reembed")).status_code == 502
    assert (await client.get(PLACE)).json()["dimension"] == 4
    assert len((await vectors_of(client, *range(40)))["001"]) == 4
    for _ in range(200):
        if not lake.vectors.shelf.ledger.dropped():
            break
        await asyncio.sleep(0.02)
    assert lake.vectors.shelf.ledger.dropped() == [], "the half of it is gone"
    ollama.embed = embed  # type: ignore[method-assign]
    assert (await client.post(f"{PLACE}/reembed")).json()["embedded"] == 40


async def test_a_job_tells_how_far_it_is_and_can_be_cancelled(
    served: tuple[Lakehouse, httpx.AsyncClient], ollama: OllamaDouble
) -> None:
    _, client = served
    renewed(ollama)
    gate = Gate(ollama)
    headers = {"Prefer": "respond-async"}
    begun = await client.post(f"{PLACE}/reembed", headers=headers)
    assert begun.status_code == 202
    await gate.wait()
    assert (await client.post(f"{begun.headers['Location']}/cancel")).is_success
    gate.open.set()
    assert (await ended(client, begun))["state"] == "cancelled"
    assert (await client.get(PLACE)).json()["dimension"] == 4
    done = await ended(client, await client.post(f"{PLACE}/reembed", headers=headers))
    assert (done["state"], done["done"], done["total"]) == ("succeeded", 40, 40)
    assert (await client.get(PLACE)).json()["dimension"] == 6


async def test_one_that_is_dropped_meanwhile_does_not_come_back(
    tmp_path: Path, served: tuple[Lakehouse, httpx.AsyncClient], ollama: OllamaDouble
) -> None:
    lake, client = served
    collection = await lake.vectors.shelf.get(parse_table_name("said"))
    ollama.models[f"{MODEL}:latest"] = "def"
    running = asyncio.create_task(client.post(f"{PLACE}/reembed"))
    for _ in range(10_000):
        if collection.touched is not None:
            break
        await asyncio.sleep(0)
    assert (await client.delete(PLACE)).status_code == 204
    gone = await running
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/collection-not-found")
    assert (await client.get(PLACE)).status_code == 404
    for _ in range(200):
        if not lake.vectors.shelf.ledger.dropped():
            break
        await asyncio.sleep(0.02)
    assert not list((tmp_path / "data" / "warehouse" / "vectors").glob("*.lance"))


async def ended(client: httpx.AsyncClient, begun: httpx.Response) -> dict[str, Any]:
    for _ in range(400):
        job: dict[str, Any] = (await client.get(begun.headers["Location"])).json()
        if job["ended_at"]:
            return job
        await asyncio.sleep(0.02)
    raise AssertionError("the job does not end")


async def test_a_large_collection_has_its_index_and_its_words_before_the_switch(
    tmp_path: Path, ollama: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, ollama, exact_max=300) as (lake, client):
        await client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
        await add(client, *range(350))
        words = {"text": "007", "mode": "text", "k": 3}
        assert (await client.post(f"{PLACE}/search", json=words)).json()["results"]
        renewed(ollama)
        assert (await client.post(f"{PLACE}/reembed")).json()["embedded"] == 350
        collection = await lake.vectors.shelf.get(parse_table_name("said"))
        assert {"vector_idx", "text_idx", "id_idx"} <= await collection.items.index_names()
        assert (await client.post(f"{PLACE}/search", json=words)).json()["results"]
        asked = {"text": item(9)["text"], "k": 400, "explain": True}
        found = (await client.post(f"{PLACE}/search", json=asked)).json()
        assert found["explain"]["way"] == "index" and len(found["results"]) == 350


def test_a_kill_leaves_the_old_vectors_or_the_new_ones(
    tmp_path: Path, ollama: OllamaDouble
) -> None:
    chance, dimension = random.Random(5), 4
    variables = {"LAKEHOUSE_EMBEDDING__OLLAMA_URL": ollama.url}
    for kill in range(KILLS + 1):
        with (
            lakehouse_server(tmp_path / "data", port=None, **variables) as server,
            httpx.Client(base_url=server.url, timeout=30) as client,
        ):
            if kill == 0:
                client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
                items = {"items": [item(n) for n in range(300)]}
                assert client.post(f"{PLACE}/add", json=items).status_code == 200
            told = client.get(PLACE).json()
            assert told["dimension"] in {4, dimension} and told["length"] == 300
            asked = {"vector": [1.0] * told["dimension"], "k": 1000}
            found = client.post(f"{PLACE}/search", json=asked).json()["results"]
            assert sorted(each["id"] for each in found) == [f"{n:03}" for n in range(300)]
            if kill == KILLS:
                break
            dimension = 5 + kill
            renewed(ollama, f"digest{kill}", dimension)
            begun = client.post(f"{PLACE}/reembed", headers={"Prefer": "respond-async"})
            assert begun.status_code == 202, begun.text
            time.sleep(chance.uniform(0.0, 0.6))
            os.kill(server.pid, signal.SIGKILL)
        left = list((tmp_path / "data" / "warehouse" / "vectors").glob("*.lance"))
        assert len(left) <= 3, left
