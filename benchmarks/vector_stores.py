"""Servers of collections, asked over HTTP: each in the bodies that its own client sends."""

import base64
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from benchmarks.serving import KeptAlive, requested

JSON = "application/json"
EF_SEARCH = (100, 200, 400, 800)
"""Of Chroma: how many neighbours a search keeps in hand. The first is its default."""


def packed(vector: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


class Store(Protocol):
    """Collections whose ids are numbers, of vectors that are compared by their cosine."""

    def create(self, name: str, dimension: int) -> None:
        """Make an empty collection; `percent` and `myriad` of its metadata are for filters."""
        ...

    def drop(self, name: str) -> None: ...

    def adding(self, name: str) -> KeptAlive:
        """Return a connection that takes items, and puts them in the place of those there."""
        ...

    def deleting(self, name: str) -> KeptAlive: ...

    def searching(self, name: str) -> KeptAlive: ...

    def items(
        self, ids: Sequence[int], vectors: Any, metadata: Sequence[dict[str, int]] | None = None
    ) -> bytes:
        """Return the body that adds items, vectors of shape (items, dimension)."""
        ...

    def question(self, vector: Any, k: int, filter_: dict[str, int] | None = None) -> bytes:
        """Return the body that asks for the nearest, ids and metadata of them."""
        ...

    def ids_of(self, answer: bytes) -> list[int]: ...


class Lakehouse:
    def __init__(self, port: int) -> None:
        self._port = port

    def create(self, name: str, dimension: int) -> None:
        columns = {"percent": "integer", "myriad": "integer"}
        body = {"name": name, "dimension": dimension, "columns": columns}
        requested(self._port, "POST", "/v1/vectors/index", msgspec.json.encode(body), JSON)

    def drop(self, name: str) -> None:
        requested(self._port, "DELETE", f"/v1/vectors/index/{name}")

    def adding(self, name: str) -> KeptAlive:
        return self._connection(name, "add")

    def deleting(self, name: str) -> KeptAlive:
        return self._connection(name, "delete")

    def searching(self, name: str) -> KeptAlive:
        return self._connection(name, "search")

    def items(
        self, ids: Sequence[int], vectors: Any, metadata: Sequence[dict[str, int]] | None = None
    ) -> bytes:
        said = metadata or [{}] * len(ids)
        items = [
            {"id": str(each), "vector": packed(vector), "metadata": known}
            for each, vector, known in zip(ids, vectors, said, strict=True)
        ]
        return msgspec.json.encode({"items": items})

    def question(self, vector: Any, k: int, filter_: dict[str, int] | None = None) -> bytes:
        asked = {"vector": packed(vector), "k": k, "filter": filter_ or {}}
        return msgspec.json.encode(asked)

    def ids_of(self, answer: bytes) -> list[int]:
        return [int(each["id"]) for each in msgspec.json.decode(answer)["results"]]

    def _connection(self, name: str, what: str) -> KeptAlive:
        return KeptAlive(self._port, "POST", f"/v1/vectors/index/{name}/{what}", b"", JSON)


class Chroma:
    """Its interface of version 2. Vectors that are added are base64, as its client sends them."""

    BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def __init__(self, port: int) -> None:
        self._port = port

    def create(self, name: str, dimension: int) -> None:
        body = {"name": name, "configuration": {"hnsw": {"space": "cosine"}}}
        requested(self._port, "POST", self.BASE, msgspec.json.encode(body), JSON)

    def drop(self, name: str) -> None:
        requested(self._port, "DELETE", f"{self.BASE}/{name}")

    def look_at(self, name: str, ef_search: int) -> None:
        """Have searches keep so many neighbours in hand: more are slower, and find more.

        From the next start of the server on.
        """
        body = {"new_configuration": {"hnsw": {"ef_search": ef_search}}}
        requested(self._port, "PUT", self._path(name), msgspec.json.encode(body), JSON)

    def adding(self, name: str) -> KeptAlive:
        return self._connection(name, "upsert")

    def deleting(self, name: str) -> KeptAlive:
        return self._connection(name, "delete")

    def searching(self, name: str) -> KeptAlive:
        return self._connection(name, "query")

    def items(
        self, ids: Sequence[int], vectors: Any, metadata: Sequence[dict[str, int]] | None = None
    ) -> bytes:
        sent = [packed(row) for row in vectors]
        body = {"ids": [str(each) for each in ids], "embeddings": sent, "metadatas": metadata}
        return msgspec.json.encode(body)

    def question(self, vector: Any, k: int, filter_: dict[str, int] | None = None) -> bytes:
        asked = {
            "query_embeddings": [vector.tolist()],
            "n_results": k,
            "where": filter_ or None,
            "include": ["metadatas", "distances"],
        }
        return msgspec.json.encode(asked)

    def ids_of(self, answer: bytes) -> list[int]:
        return [int(each) for each in msgspec.json.decode(answer)["ids"][0]]

    def _connection(self, name: str, what: str) -> KeptAlive:
        return KeptAlive(self._port, "POST", f"{self._path(name)}/{what}", b"", JSON)

    def _path(self, name: str) -> str:
        told = requested(self._port, "GET", f"{self.BASE}/{name}")
        return f"{self.BASE}/{msgspec.json.decode(told)['id']}"
