"""The model that ships with us: what it is, and that it is whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lakehouse.config import EmbeddingConfig
from lakehouse.embedding import (
    EmbedderFailedError,
    Embedding,
    EmptyTextError,
    NothingKnownError,
    UnknownModelError,
)
from lakehouse.embedding.errors import TEXTS_MAX, TooManyTextsError
from lakehouse.embedding.static import FOLDER, StaticModel, sum_of


@pytest.fixture
def embedding() -> Embedding:
    return Embedding(EmbeddingConfig())


async def test_vectors_have_length_1_and_the_order_of_their_texts(embedding: Embedding) -> None:
    texts = ["a dog barks", "a lake in the mountains", "the hound is barking", "a dog barks"]
    identity, vectors = await embedding.embed(texts)
    assert vectors.shape == (4, identity.dimension) == (4, 256)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (vectors[0] == vectors[3]).all()
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.2, "meaning is what it is for"


async def test_the_same_text_has_the_same_vector_alone_and_among_others() -> None:
    one, other = Embedding(EmbeddingConfig()), Embedding(EmbeddingConfig(cache_texts=0))
    texts = [f"sentence number {number} of many" for number in range(3_000)]
    _, together = await one.embed(texts)
    _, alone = await other.embed(texts[2_500:2_501])
    assert (together[2_500] == alone[0]).all()


async def test_its_identity_is_the_sum_of_its_weights(embedding: Embedding) -> None:
    identity = await embedding.identity()
    assert identity.digest == sum_of(FOLDER / "model.safetensors")
    assert (identity.provider, identity.model) == ("static", "static-minilm-256")
    (model,) = await embedding.models()
    assert (model.dimension, model.digest, model.is_default) == (256, identity.digest, True)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
async def test_a_damaged_model_is_not_used(tmp_path: Path, file: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "model")
    path = tmp_path / "model" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EmbedderFailedError, match=file):
        await StaticModel(tmp_path / "model").embed(["text"])


@pytest.mark.parametrize("texts", [[], ["a", ""], ["a", " \n\t"]])
async def test_nothing_to_embed_is_refused(embedding: Embedding, texts: list[str]) -> None:
    with pytest.raises(EmptyTextError) as refused:
        await embedding.embed(texts)
    assert refused.value.context["index"] == (1 if texts else None)


async def test_a_text_of_which_it_knows_nothing_is_named(embedding: Embedding) -> None:
    with pytest.raises(NothingKnownError, match="text 1"):
        await embedding.embed(["a dog", "\U0001f9ff\U0001f9ff"])
    assert embedding.stats().size == 1, "the other one is kept, an error is not"


async def test_too_many_texts_and_unknown_models_are_refused(embedding: Embedding) -> None:
    with pytest.raises(TooManyTextsError):
        await embedding.embed(["a"] * (TEXTS_MAX + 1))
    with pytest.raises(UnknownModelError, match="static-minilm-256"):
        await embedding.embed(["a"], "no-such-model")


async def test_the_cache_counts_and_forgets_the_least_recently_used() -> None:
    embedding = Embedding(EmbeddingConfig(cache_texts=2))
    await embedding.embed(["one", "two"])
    await embedding.embed(["one"])
    await embedding.embed(["three"])
    await embedding.embed(["one"])
    await embedding.embed(["two"])
    stats = embedding.stats()
    assert (stats.hits, stats.misses, stats.size) == (2, 4, 2)
    assert stats.hit_rate == pytest.approx(2 / 6)


async def test_the_cache_is_bounded_in_bytes() -> None:
    embedding = Embedding(EmbeddingConfig(cache_bytes=5_000))
    await embedding.embed([f"number {number}" for number in range(10)])
    assert embedding.stats().size == 4
