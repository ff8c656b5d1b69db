"""A model that Ollama serves.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import msgspec
import numpy as np
import ollama

from lakehouse.embedding.errors import EmbedderFailedError, ModelChangedError, ModelMissingError
from lakehouse.embedding.provider import Identity, Kind, Vectors

T = TypeVar("T")

TRIES = 3
SURE_S = 5.0
"""How long it is taken to be the model that it was when it was asked last."""
RETRY_S = 0.2
NOT_FOUND, SERVER_FAULT = 404, 500
PREFIXES: Mapping[str, Mapping[Kind, str]] = {
    # Source: https://huggingface.co/nomic-ai/nomic-embed-text-v1.5, Task instruction prefixes
    "nomic-embed-text": {"query": "search_query: ", "document": "search_document: "},
}


class OllamaModel:
    texts_max = 64
    calls_max = 2

    def __init__(self, url: str, model: str, deadline_s: float) -> None:
        self.name = model
        self._client = ollama.AsyncClient(host=url, timeout=deadline_s)
        self._url = url
        self._prefixes = PREFIXES.get(model.partition(":")[0], {})
        self._known: Identity | None = None
        self._known_at = 0.0

    def prepared(self, text: str, kind: Kind) -> str:
        return self._prefixes.get(kind, "") + text

    async def identity(self) -> Identity:
        """Return which model it is, asked anew now and then: `ollama pull` may bring another."""
        if self._known is not None and time.monotonic() - self._known_at < SURE_S:
            return self._known
        digest = await self._tried(self._digest)
        self._known_at = time.monotonic()
        if self._known is None or self._known.digest != digest:
            (probe,) = await self._raw(["dimension"])
            prefix = msgspec.json.encode(self._prefixes).decode() if self._prefixes else ""
            self._known = Identity("ollama", self.name, digest, len(probe), prefix=prefix)
        return self._known

    async def embed(self, texts: Sequence[str]) -> Vectors:
        known = self._known or await self.identity()
        vectors = await self._raw(texts)
        await self._check_same(known)
        wrong = next((each for each in vectors if len(each) != known.dimension), None)
        if wrong is not None or len(vectors) != len(texts):
            what = (
                f"{len(vectors)} vectors for {len(texts)} texts"
                if wrong is None
                else f"a vector has {len(wrong)} numbers, which were {known.dimension}"
            )
            raise ModelChangedError(self.name, what)
        found = np.asarray(vectors, dtype=np.float32)
        if not np.isfinite(found).all():
            raise ModelChangedError(self.name, "a vector has a number that is none")
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)

    async def _check_same(self, known: Identity) -> None:
        """Raise unless the vectors that came are of this model: an answer does not say it."""
        digest = await self._tried(self._digest)
        if digest != known.digest:
            self._known_at = 0.0
            what = f"its digest is {digest[:12]} and was {known.digest[:12]}"
            raise ModelChangedError(self.name, what)
        self._known_at = time.monotonic()

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _raw(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        async def ask() -> Sequence[Sequence[float]]:
            answer = await self._client.embed(model=self.name, input=list(texts), truncate=True)
            return answer.embeddings

        return await self._tried(ask)

    async def _digest(self) -> str:
        listed = await self._client.list()
        for each in listed.models:
            if each.model in (self.name, f"{self.name}:latest"):
                return each.digest or ""
        raise ModelMissingError(self.name)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer, asked for again after a pause where that may help."""
        for number in range(TRIES):
            try:
                return await ask()
            except ollama.ResponseError as error:
                if error.status_code == NOT_FOUND:
                    raise ModelMissingError(self.name) from error
                failed: Exception = EmbedderFailedError(self.name, f"Ollama says: {said(error)}")
                if error.status_code < SERVER_FAULT:
                    raise failed from error
            except (ConnectionError, httpx.TransportError) as error:
                failed = EmbedderFailedError(self.name, unreached(self._url, error))
                if isinstance(error, httpx.TimeoutException):
                    raise failed from error
            if number + 1 < TRIES:
                await asyncio.sleep(RETRY_S * 2**number * random.uniform(0.5, 1.5))
        raise failed


def said(error: Any) -> str:
    return str(error.error)[:500]


def unreached(url: str, error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "Ollama did not answer in time; try again, or send fewer texts"
    return f"Ollama does not answer at {url}: run `ollama serve`, or mend embedding.ollama_url"
