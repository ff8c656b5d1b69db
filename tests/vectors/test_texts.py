"""Texts in a collection, and the model that it was built with: over a double of Ollama."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config, EmbeddingConfig
from lakehouse.embedding import ollama as ours
from lakehouse.state import DataDirectory
from tests.embedding.ollama_double import OllamaDouble, running
from tests.services import client_of

PLACE = "/v1/vectors/index/said"
MODEL = "nomic-embed-text"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaDouble]:
    monkeypatch.setattr(ours, "RETRY_S", 0.001)
    with running() as double:
        yield double


@pytest.fixture
async def client(tmp_path: Path, ollama: OllamaDouble) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a lake with a collection of two texts."""
    config = Config(embedding=EmbeddingConfig(ollama_url=ollama.url))
    with DataDirectory.open(tmp_path / "data") as directory:
        async with (
            open_lakehouse(config, directory) as lakehouse,
            client_of(create_app(lakehouse)) as client,
        ):
            await client.post("/v1/vectors/index", json={"name": "said", "model": MODEL})
            added = await add(client, "a", "b" * 300)
            assert added.json() == {"added": 2, "length": 2}, added.text
            yield client


async def add(client: httpx.AsyncClient, *texts: str) -> httpx.Response:
    items = [{"id": text[:1], "text": text} for text in texts]
    return await client.post(f"{PLACE}/add", json={"items": items})


async def search(client: httpx.AsyncClient, text: str) -> httpx.Response:
    return await client.post(f"{PLACE}/search", json={"text": text, "k": 1})


async def test_questions_and_items_are_marked_each_in_its_way(
    client: httpx.AsyncClient, ollama: OllamaDouble
) -> None:
    found = (await search(client, "c" * 250)).json()
    assert [each["id"] for each in found["results"]] == ["b"]
    marked = ["search_document: a", f"search_document: {'b' * 300}", f"search_query: {'c' * 250}"]
    assert [text for call in ollama.inputs for text in call if text in marked] == marked


@pytest.mark.parametrize("dimension", [4, 5])
async def test_texts_are_refused_while_another_model_has_the_name(
    client: httpx.AsyncClient, ollama: OllamaDouble, dimension: int
) -> None:
    ollama.models[f"{MODEL}:latest"], ollama.dimension = "def", dimension
    for refused in (await add(client, "c", "d"), await search(client, "what")):
        assert refused.status_code == 409, refused.text
        assert "bring the old model back" in refused.json()["detail"]
    assert (await client.get(PLACE)).json()["length"] == 2

    ollama.models[f"{MODEL}:latest"], ollama.dimension = "abc", 4
    assert (await search(client, "what else")).is_success, "a text that it is asked for anew"
    assert (await add(client, "c", "d")).json() == {"added": 2, "length": 4}


async def test_when_no_vectors_come_nothing_is_added(
    client: httpx.AsyncClient, ollama: OllamaDouble
) -> None:
    ollama.failures = [500] * 9
    failed = await add(client, "c", "d")
    assert (failed.status_code, failed.json()["retryable"]) == (502, True)
    assert (await client.get(PLACE)).json()["length"] == 2
    ollama.failures = []
    assert (await add(client, "c", "d")).json() == {"added": 2, "length": 4}
