"""Texts of a collection made vectors, by the model that it was built with."""

from collections.abc import Sequence
from typing import Any

from lakehouse.audit import record
from lakehouse.embedding import Embedding, Kind, ModelChangedError
from lakehouse.names import shown
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import NoModelError, OtherModelError
from lakehouse.vectors.items import query_vector
from lakehouse.vectors.models import SearchRequest
from lakehouse.vectors.schema import Batch
from lakehouse.vectors.shelf import Shelf


class Texts:
    def __init__(self, shelf: Shelf, embedding: Embedding) -> None:
        self._shelf = shelf
        self._embedding = embedding

    async def query(self, collection: Collection, asked: SearchRequest) -> Any:
        """Return the vector that is searched by."""
        if asked.vector is not None:
            return query_vector(asked.vector, collection.known.definition)
        assert asked.text is not None, "one of both is there"
        (vector,) = await self.vectors(collection, [asked.text], "query")
        return vector

    async def fill_in(self, collection: Collection, batch: Batch) -> None:
        """Fill in the vectors of the items that came as texts."""
        places = [n for n, text in enumerate(batch.texts) if text is not None]
        if places:
            texts = [text for text in batch.texts if text is not None]
            batch.vectors[places] = await self.vectors(collection, texts, "document")

    async def vectors(
        self, collection: Collection, texts: Sequence[str], kind: Kind, *, zeros: bool = False
    ) -> Any:
        """Return the vectors of texts by the model that the collection was built with."""
        definition = collection.known.definition
        model = definition.model.model if definition.model else None
        name = shown(collection.known.name)
        try:
            identity, vectors = await self._embedding.embed(texts, model, kind, zeros=zeros)
        except ModelChangedError:  # meanwhile; which one it is by now says the next answer
            identity, vectors = await self._embedding.embed(texts, model, kind, zeros=zeros)
        if definition.model is None:
            if identity.dimension != definition.dimension:
                raise NoModelError(name, definition.dimension, identity.model, identity.dimension)
            if kind == "document":
                await self._shelf.define(collection, model=identity)
        elif identity != definition.model:
            raise OtherModelError(name, identity.model)
        record().text_count += len(texts)
        return vectors
