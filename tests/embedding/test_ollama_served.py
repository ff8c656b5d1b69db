"""A real Ollama with a real model: `test_ollama.py` has the same of a double, and more faults."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lakehouse.config import EmbeddingConfig
from lakehouse.embedding import (
    EmbedderFailedError,
    Embedding,
    ModelChangedError,
    ModelMissingError,
)
from tests import ollama
from tests.ollama import DIMENSION, MODEL, OllamaServer
from tests.services import lakehouse_server

pytestmark = pytest.mark.slow

MANY = [f"sentence number {number} of a request that takes seconds" for number in range(2_000)]
PATIENT_S = 250
"""How long a request may take where the machine has other work as well."""
NEAR = 1e-3
"""How far a number may be off: the model's products are of batches, and in half precision."""


@pytest.fixture(scope="module")
def served() -> Iterator[OllamaServer]:
    ollama.needed()
    with ollama.running() as server:
        yield server


@pytest.fixture
def own() -> Iterator[OllamaServer]:
    """A server that the test may do anything to."""
    ollama.needed()
    with ollama.running() as server:
        yield server


def config(server: OllamaServer, **more: Any) -> EmbeddingConfig:
    settings = {"ollama_model": MODEL, "deadline_s": PATIENT_S, **more}
    return EmbeddingConfig(ollama_url=server.url, **settings)


async def test_its_vectors_have_length_1_and_their_meaning(served: OllamaServer) -> None:
    texts = ["a dog barks", "a lake in the mountains", "the hound is barking", "a dog barks"]
    async with Embedding(config(served, cache_texts=0)).open() as embedding:
        identity, vectors = await embedding.embed(texts)
        _, again = await embedding.embed(texts[:1])
    assert vectors.shape == (4, DIMENSION) == (4, identity.dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (vectors[0] == vectors[3]).all()
    assert again[0] == pytest.approx(vectors[0], abs=NEAR)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.3


async def test_many_texts_have_the_vectors_that_each_has_alone(served: OllamaServer) -> None:
    texts = MANY[:80]
    async with Embedding(config(served, cache_texts=0)).open() as embedding:
        _, together = await embedding.embed(texts)
        alone = [(await embedding.embed([text]))[1][0] for text in texts[::16]]
    assert np.stack(alone) == pytest.approx(together[::16], abs=NEAR)
    assert len(np.unique(together.round(4), axis=0)) == len(texts)


async def test_a_model_that_is_not_there_says_what_to_run(served: OllamaServer) -> None:
    async with Embedding(config(served, ollama_model="mxbai-embed-large")).open() as embedding:
        with pytest.raises(ModelMissingError, match="ollama pull mxbai-embed-large"):
            await embedding.embed(["a lake"])
        missing, own_model = await embedding.models()
    assert missing.error is not None and "ollama pull mxbai-embed-large" in missing.error
    assert own_model.dimension == 256


async def test_the_deadline_ends_a_request_and_nothing_else(served: OllamaServer) -> None:
    async with Embedding(config(served)).open() as patient:
        await patient.embed(["the model is loaded"])
        async with Embedding(config(served, deadline_s=1)).open() as embedding:
            with pytest.raises(EmbedderFailedError, match="fewer texts"):
                await embedding.embed(MANY)
        _, vectors = await patient.embed(["a lake"])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0, abs=1e-6)


async def test_killed_amid_a_request_it_fails_whole_and_works_again(own: OllamaServer) -> None:
    async with Embedding(config(own)).open() as embedding:
        await embedding.embed(["the model is loaded"])
        before = own.answers_given()
        asked = asyncio.create_task(embedding.embed(MANY))
        while own.answers_given() < before + 1:
            assert not asked.done()
            await asyncio.sleep(0.01)
        own.kill()
        with pytest.raises(EmbedderFailedError, match="run `ollama serve`"):
            await asked
        assert embedding.stats().size == 1, "of a request that failed nothing is kept"
        own.start()
        _, vectors = await embedding.embed(MANY[:20])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)


async def test_another_model_under_the_name_is_told_and_then_used(own: OllamaServer) -> None:
    async with Embedding(config(own)).open() as embedding:
        first, (before,) = await embedding.embed(["a lake"])
        own.create(MODEL, {**ollama.model_files(), "model.safetensors": ollama.turned_round()})
        with pytest.raises(ModelChangedError, match="embed again"):
            await embedding.embed(["another text"])
        second, (after,) = await embedding.embed(["a lake"])
    assert first.digest != second.digest
    assert first.dimension == second.dimension == DIMENSION
    assert after == pytest.approx(-before, abs=NEAR), "and no vector of the first is given for it"


def test_the_routes_use_it_and_say_what_is_wrong_with_it(own: OllamaServer, tmp_path: Path) -> None:
    variables = {
        "LAKEHOUSE_EMBEDDING__OLLAMA_URL": own.url,
        "LAKEHOUSE_EMBEDDING__OLLAMA_MODEL": MODEL,
    }
    with (
        lakehouse_server(tmp_path / "data", port=None, **variables) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        first, second = client.get("/v1/embed/models").json()["models"]
        told = client.post("/v1/embed", json={"texts": ["a lake", "a dog"]}).json()
        assert (first["name"], first["is_default"], first["dimension"]) == (MODEL, True, DIMENSION)
        assert (second["name"], second["is_default"]) == ("static-minilm-256", False)
        assert (told["model"], told["dimension"]) == (MODEL, DIMENSION)
        assert np.linalg.norm(told["vectors"], axis=1) == pytest.approx(1.0, abs=1e-5)

        own.delete(MODEL)
        missing = client.post("/v1/embed", json={"texts": ["a hill"]})
        assert (missing.status_code, missing.json()["retryable"]) == (502, False)
        assert f"ollama pull {MODEL}" in missing.json()["detail"]

        own.create(MODEL, ollama.model_files())
        assert client.post("/v1/embed", json={"texts": ["a hill"]}).json()["model"] == MODEL

        own.kill()
        dead = client.post("/v1/embed", json={"texts": ["a valley"]})
        assert (dead.status_code, dead.json()["retryable"]) == (502, True)
        assert "run `ollama serve`" in dead.json()["detail"]
        assert client.post(
            "/v1/embed", json={"texts": ["a valley"], "model": "static-minilm-256"}
        ).is_success

        own.start()
        assert client.post("/v1/embed", json={"texts": ["a valley"]}).is_success
