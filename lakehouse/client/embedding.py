"""Vectors of texts."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.transport import Transport


class Embedded(msgspec.Struct, frozen=True):
    vectors: list[list[float]]
    """One for each text, in their order, of length 1."""
    dimension: int
    model: str


class EmbeddingModel(msgspec.Struct, frozen=True):
    name: str
    provider: str
    """`static`, which ships with the server, or `ollama`."""
    is_default: bool
    dimension: int | None = None
    digest: str | None = None
    error: str | None = None
    """Why it cannot be had right now."""


class EmbeddingModelList(msgspec.Struct, frozen=True):
    models: list[EmbeddingModel]


class Embedding:
    """`lake.embedding`: texts as vectors, by a model of the server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def embed(self, texts: Sequence[str], model: str | None = None) -> Embedded:
        """Return the vectors of up to 10,000 texts, by the default model when None is said.

        Raises:
            InvalidInputError: there is no text, or nothing in one, or nothing that it knows.
            NotFoundError: there is no such model.
            UpstreamError: the model gave none.
        """
        asked: dict[str, Any] = {"texts": list(texts)}
        if model is not None:
            asked["model"] = model
        answer = self._transport.send("POST", "/v1/embed", json=asked)
        return value_of(answer, Embedded)

    def models(self) -> list[EmbeddingModel]:
        """Return the models that there are, the default first."""
        answer = self._transport.send("GET", "/v1/embed/models")
        return value_of(answer, EmbeddingModelList).models
