"""`/v1/embed` over HTTP, and as a command."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config, EmbeddingConfig
from lakehouse.state import DataDirectory
from tests.services import client_of


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    dead = EmbeddingConfig(ollama_url="http://127.0.0.1:9", provider="static")
    with DataDirectory.open(tmp_path / "data") as directory:
        async with (
            open_lakehouse(Config(embedding=dead), directory) as lakehouse,
            client_of(create_app(lakehouse)) as client,
        ):
            yield client


async def test_vectors_come_in_the_words_of_the_contract(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/embed", json={"texts": ["a dog barks", "a lake"]})
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == {"vectors", "dimension", "model"}
    assert (told["dimension"], told["model"]) == (256, "static-minilm-256")
    for vector in told["vectors"]:
        assert len(vector) == 256
        assert sum(number * number for number in vector) == pytest.approx(1.0, abs=1e-5)
    await client.post("/v1/embed", json={"texts": ["a lake"]})
    stats = (await client.get("/v1/embed/stats")).json()
    assert stats == {"hits": 1, "misses": 2, "hit_rate": pytest.approx(1 / 3), "size": 2}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"texts": []}, 400, "there are no texts"),
        ({"texts": ["a", ""]}, 400, "text 1 is empty"),
        ({"texts": ["\U0001f9ff"]}, 400, "knows no word"),
        ({"texts": "a"}, 400, "texts"),
        ({}, 400, "texts"),
        ({"texts": ["a"], "model": "gpt"}, 404, "nomic-embed-text"),
        ({"texts": ["a"], "model": "nomic-embed-text"}, 502, "ollama serve"),
        ({"texts": ["a"] * 10_001}, 413, "10,000"),
    ],
)
async def test_bad_input_says_what_to_do(
    client: httpx.AsyncClient,
    body: dict[str, object],
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lakehouse.embedding.ollama.RETRY_S", 0.001)
    answer = await client.post("/v1/embed", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.text


async def test_models_are_listed_with_what_is_wrong(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.embedding.ollama.RETRY_S", 0.001)
    own, other = (await client.get("/v1/embed/models")).json()["models"]
    assert (own["name"], own["is_default"], own["dimension"]) == ("static-minilm-256", True, 256)
    assert (other["provider"], other["dimension"]) == ("ollama", None)
    assert "ollama serve" in other["error"]
