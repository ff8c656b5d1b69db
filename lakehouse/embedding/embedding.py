"""The models of this server: which there are, and the vectors of texts by one of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import numpy as np

from lakehouse.config import EmbeddingConfig
from lakehouse.embedding.batches import Batches
from lakehouse.embedding.cache import VectorCache
from lakehouse.embedding.errors import (
    TEXTS_MAX,
    EmbedderFailedError,
    EmptyTextError,
    ModelChangedError,
    NothingKnownError,
    TooManyTextsError,
    UnknownModelError,
)
from lakehouse.embedding.models import EmbeddingModel, EmbedStats
from lakehouse.embedding.provider import Identity, Kind, Provider, Vectors
from lakehouse.embedding.static import StaticModel
from lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from lakehouse.embedding.ollama import OllamaModel


class Embedding:
    """Vectors of texts. Its methods are of the event loop, and leave it free."""

    def __init__(self, config: EmbeddingConfig) -> None:
        self._deadline_s = config.deadline_s
        self._ollama = ollama_of(config)
        static = StaticModel()
        uses_ollama = self._ollama is not None and config.provider != "static"
        first = [self._ollama, static] if uses_ollama else [static, self._ollama]
        self._providers: dict[str, Provider] = {each.name: each for each in first if each}
        self._batches = {name: Batches(each) for name, each in self._providers.items()}
        self._cache = VectorCache(config.cache_texts, config.cache_bytes)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        try:
            yield self
        finally:
            if self._ollama is not None:
                await self._ollama.close()

    @property
    def default_model(self) -> str:
        return next(iter(self._providers))

    async def identity(self, model: str | None = None) -> Identity:
        """Return what makes vectors of a model comparable.

        Raises:
            UnknownModelError, EmbedderFailedError, ModelMissingError
        """
        return await self._find(model).identity()

    async def embed(
        self,
        texts: Sequence[str],
        model: str | None = None,
        kind: Kind = "plain",
        *,
        zeros: bool = False,
    ) -> tuple[Identity, Vectors]:
        """Return the vectors of texts, in their order, and which model they are of.

        Args:
            zeros: a text of which the model knows no word has the zero vector, and is no error.

        Raises:
            EmptyTextError: there are none, or nothing is in one.
            TooManyTextsError: there are more than `TEXTS_MAX`.
            NothingKnownError: the model knows no word of one.
            UnknownModelError: there is no such model.
            EmbedderFailedError, ModelMissingError, ModelChangedError: the model gave none.
        """
        provider = self._find(model)
        if not texts:
            raise EmptyTextError(None)
        if len(texts) > TEXTS_MAX:
            raise TooManyTextsError(len(texts))
        for index, text in enumerate(texts):
            if not text.strip():
                raise EmptyTextError(index)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._embedded(provider, texts, kind, zeros=zeros)
        except TimeoutError as error:
            why = f"it took longer than {self._deadline_s} s; send fewer texts at once"
            raise EmbedderFailedError(provider.name, why) from error

    async def _embedded(
        self, provider: Provider, texts: Sequence[str], kind: Kind, *, zeros: bool
    ) -> tuple[Identity, Vectors]:
        identity = await provider.identity()
        prepared = [provider.prepared(text, kind) for text in texts]
        found = {text: self._cache.get(identity, text) for text in prepared}
        missing = [text for text, vector in found.items() if vector is None]
        if missing:
            vectors = await self._batches[provider.name].embed(missing)
            if await provider.identity() != identity:
                raise ModelChangedError(provider.name, "it was replaced while it embedded")
            found.update(zip(missing, vectors, strict=True))
            for text, vector, is_known in zip(missing, vectors, vectors.any(axis=1), strict=True):
                if is_known:  # what it knows nothing of is an error, and errors are not kept
                    self._cache.put(identity, text, vector.copy())
        every = np.stack([found[text] for text in prepared])
        if not zeros and len(unknown := np.flatnonzero(~every.any(axis=1))):
            raise NothingKnownError(int(unknown[0]), provider.name)
        return identity, every

    async def models(self) -> list[EmbeddingModel]:
        """Return every model, the default first; what is wrong with one is said."""
        return [await self._described(each) for each in self._providers.values()]

    async def _described(self, provider: Provider) -> EmbeddingModel:
        kind = "ollama" if provider is self._ollama else "static"
        is_default = provider.name == self.default_model
        try:
            known = await provider.identity()
        except LakehouseError as error:
            return EmbeddingModel(
                name=provider.name, provider=kind, is_default=is_default, error=error.detail
            )
        return EmbeddingModel(
            name=provider.name,
            provider=kind,
            is_default=is_default,
            dimension=known.dimension,
            digest=known.digest,
        )

    def stats(self) -> EmbedStats:
        """Return what the cache did since the start."""
        return self._cache.stats()

    def _find(self, model: str | None) -> Provider:
        name = self.default_model if model is None else model
        if name not in self._providers:
            raise UnknownModelError(name, list(self._providers))
        return self._providers[name]


def ollama_of(config: EmbeddingConfig) -> "OllamaModel | None":
    if config.ollama_url is None:
        return None
    from lakehouse.embedding.ollama import OllamaModel  # its client takes 0.3 s and 20 MB

    return OllamaModel(config.ollama_url, config.ollama_model, config.deadline_s)
