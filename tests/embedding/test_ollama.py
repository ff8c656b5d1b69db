"""Ollama, as a double of its protocol: what is asked, and how each failure is told."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lakehouse.config import EmbeddingConfig
from lakehouse.embedding import (
    EmbedderFailedError,
    Embedding,
    ModelChangedError,
    ModelMissingError,
)
from lakehouse.embedding import ollama as ours
from tests.embedding.ollama_double import OllamaDouble, running


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaDouble]:
    monkeypatch.setattr(ours, "RETRY_S", 0.001)
    with running() as double:
        yield double


def config(ollama: OllamaDouble, **more: Any) -> EmbeddingConfig:
    return EmbeddingConfig(ollama_url=ollama.url, **more)


async def test_it_is_the_default_where_it_is_configured_and_ours_is_there_too(
    ollama: OllamaDouble,
) -> None:
    async with Embedding(config(ollama)).open() as embedding:
        identity, vectors = await embedding.embed(["four", "eleven char"])
        assert (identity.provider, identity.digest, identity.dimension) == ("ollama", "abc", 4)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)
        assert vectors[0, 0] / vectors[0, 1] == pytest.approx(4)
        assert [each.name for each in await embedding.models()] == [
            "nomic-embed-text",
            "static-minilm-256",
        ]
        own, _ = await embedding.embed(["four"], "static-minilm-256")
        assert own.dimension == 256
    async with Embedding(config(ollama, provider="static")).open() as embedding:
        assert embedding.default_model == "static-minilm-256"


async def test_questions_and_documents_are_marked_as_the_model_wants(ollama: OllamaDouble) -> None:
    async with Embedding(config(ollama)).open() as embedding:
        for kind in ("plain", "query", "document"):
            await embedding.embed(["lake"], kind=kind)
    asked = ["lake", "search_query: lake", "search_document: lake"]
    assert [text for call in ollama.inputs[1:] for text in call] == asked


async def test_many_texts_go_in_several_calls(ollama: OllamaDouble) -> None:
    texts = ["x" * (1 + number) for number in range(150)]
    async with Embedding(config(ollama)).open() as embedding:
        _, vectors = await embedding.embed(texts)
    assert [len(call) for call in ollama.inputs[1:]] == [64, 64, 22]
    assert (vectors[:, 0] / vectors[:, 1]).round().tolist() == list(range(1, 151))


async def test_what_may_pass_is_tried_again(ollama: OllamaDouble) -> None:
    async with Embedding(config(ollama)).open() as embedding:
        ollama.failures = [500, 503]
        await embedding.embed(["lake"])
        ollama.failures = [500, 503, 500]
        with pytest.raises(EmbedderFailedError, match="Ollama says"):
            await embedding.embed(["another"])
        assert ollama.failures == []


async def test_a_missing_model_says_what_to_run(ollama: OllamaDouble) -> None:
    async with Embedding(config(ollama, ollama_model="all-minilm")).open() as embedding:
        with pytest.raises(ModelMissingError, match="ollama pull all-minilm"):
            await embedding.embed(["lake"])
        missing, own = await embedding.models()
        assert missing.error is not None and "ollama pull" in missing.error
        assert own.dimension == 256


async def test_a_dead_server_says_where_it_should_be(ollama: OllamaDouble) -> None:
    dead = EmbeddingConfig(ollama_url="http://127.0.0.1:9")
    async with Embedding(dead).open() as embedding:
        with pytest.raises(EmbedderFailedError, match=r"127\.0\.0\.1:9: run `ollama serve`"):
            await embedding.embed(["lake"])


async def test_a_vector_of_another_dimension_is_no_vector_of_the_model(
    ollama: OllamaDouble,
) -> None:
    async with Embedding(config(ollama)).open() as embedding:
        await embedding.embed(["lake"])
        ollama.dimension = 5
        with pytest.raises(ModelChangedError, match="5 numbers, which were 4"):
            await embedding.embed(["another"])


async def test_another_model_under_the_name_is_seen(
    ollama: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "SURE_S", 0.0)
    async with Embedding(config(ollama)).open() as embedding:
        before = await embedding.identity()
        ollama.models["nomic-embed-text:latest"], ollama.dimension = "def", 5
        after = await embedding.identity()
        _, vectors = await embedding.embed(["lake"])
    assert (before.digest, before.dimension) == ("abc", 4)
    assert (after.digest, after.dimension) == ("def", 5)
    assert vectors.shape == (1, 5)


async def test_vectors_of_a_model_that_came_meanwhile_are_not_given_for_the_other(
    ollama: OllamaDouble,
) -> None:
    async with Embedding(config(ollama)).open() as embedding:
        await embedding.embed(["lake"])
        ollama.models["nomic-embed-text:latest"] = "def"
        with pytest.raises(ModelChangedError, match="digest is def and was abc"):
            await embedding.embed(["another"])
        identity, _ = await embedding.embed(["another"])
    assert identity.digest == "def"
