"""Real sentences as vectors, and a collection of them on a server."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from model2vec import StaticModel

import lakehouse.embedding
from benchmarks.files import folder
from benchmarks.sentences import sentences
from benchmarks.serving import Served
from benchmarks.vector_stores import Store
from lakehouse.vectors.upkeep import WAITING_MIN, WAITING_SHARE

MODEL = Path(lakehouse.embedding.__file__).parent / "static_minilm_256"
BATCH, QUERIES, K = 1_000, 200, 10
READY_MAX_S = 120.0


def vectors_of(count: int) -> Any:
    """Return the vectors of the first sentences by the model that ships with us, unit length.

    Shape (count, 256), float32; kept between runs. Those that the model knows no word of are
    random ones: they are a few.
    """
    kept = folder() / f"sentences-{count}.npy"
    if not kept.exists():
        found = StaticModel.from_pretrained(MODEL).encode(sentences(count))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        rng = np.random.default_rng(1)
        found = np.where(lengths > 0, found, rng.standard_normal(found.shape))
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        np.save(kept, found.astype(np.float32))
    return np.load(kept)


def fill(
    store: Store,
    name: str,
    ids: Sequence[int],
    vectors: Any,
    metadata: Sequence[dict[str, int]] | None = None,
) -> float:
    """Add items, or put them in the place of those with their ids; return the seconds it took."""
    connection = store.adding(name)
    taken = 0.0
    for start in range(0, len(vectors), BATCH):
        part = slice(start, start + BATCH)
        body = store.items(ids[part], vectors[part], metadata and metadata[part])
        began = time.perf_counter()
        connection.send(body)
        taken += time.perf_counter() - began
    connection.close()
    return taken


def wait_for_index(server: Served, name: str) -> None:
    """Return once the index of a collection knows as many of its items as it will."""
    deadline = time.monotonic() + READY_MAX_S
    while time.monotonic() < deadline:
        told = msgspec.json.decode(server.send("GET", f"/v1/vectors/index/{name}"))
        index = told["index"]
        most = max(WAITING_MIN, WAITING_SHARE * told["length"]) / 2
        if index["state"] == "ready" and index["waiting"] <= most:
            return
        time.sleep(0.2)
    raise RuntimeError(f"the index of {name} is not ready: {index}")


def wait_for_memory(server: Served, name: str, vector: Any) -> None:
    """Search a collection until its index in memory answers."""
    body = {"vector": vector.tolist(), "explain": True}
    deadline = time.monotonic() + READY_MAX_S
    while time.monotonic() < deadline:
        answer = server.send("POST", f"/v1/vectors/index/{name}/search", msgspec.json.encode(body))
        if msgspec.json.decode(answer)["explain"]["way"] == "memory index":
            return
        time.sleep(0.2)
    raise RuntimeError(f"the rows of {name} do not come into memory")


class Searches:
    """The same searches of one collection, asked again and again, one after the other.

    Args:
        true: the nearest of each query.
        filters: one for each query; None for none.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        queries: Any,
        true: Sequence[set[int]],
        filters: Sequence[dict[str, int]] | None = None,
    ) -> None:
        self.recall = 0.0
        """Of the last time."""
        asked = filters or [{}] * len(queries)
        pairs = zip(queries, asked, strict=True)
        self.bodies = [store.question(query, K, filter_) for query, filter_ in pairs]
        self._store, self._name, self._true = store, name, true

    def p50_ms(self) -> float:
        taken, answers = [], []
        client = self._store.searching(self._name)  # one that waited for others may be closed
        for body in self.bodies:
            began = time.perf_counter()
            answers.append(client.send(body))
            taken.append(time.perf_counter() - began)
        client.close()
        self.recall = recall([self._store.ids_of(each) for each in answers], self._true)
        return float(np.median(taken)) * 1000


def truth(vectors: Any, queries: Any, kept: Sequence[Any] | None = None) -> list[set[int]]:
    """Return the true `K` nearest of each query, by cosine, of unit vectors.

    Args:
        kept: for each query the rows that may be among them, bool; None for all.
    """
    found = []
    for number, query in enumerate(queries):
        far = -(vectors @ query)
        if kept is not None:
            far[~kept[number]] = np.inf
        count = K if kept is None else min(K, int(kept[number].sum()))
        found.append(set(np.argsort(far, kind="stable")[:count].tolist()))
    return found


def recall(found: Sequence[Sequence[int]], true: Sequence[set[int]]) -> float:
    """Return the share of the true nearest that were found, from 0 to 1."""
    hits = sum(len(set(each) & nearest) for each, nearest in zip(found, true, strict=True))
    return hits / sum(map(len, true))
