"""Real sentences as vectors, and a collection of them on a server."""

import http.client
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from model2vec import StaticModel

import lakehouse.embedding
from benchmarks.files import folder
from benchmarks.sentences import sentences
from benchmarks.serving import Served

MODEL = Path(lakehouse.embedding.__file__).parent / "static_minilm_256"
BATCH = 1_000
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


def fill(server: Served, name: str, vectors: Any) -> float:
    """Make a collection of vectors, ids `0`, `1`, ...; return the seconds that the adds took."""
    asked = {"name": name, "dimension": vectors.shape[1]}
    server.send("POST", "/v1/vectors/index", msgspec.json.encode(asked), "application/json")
    taken = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for start in range(0, len(vectors), BATCH):
        rows = vectors[start : start + BATCH].tolist()
        items = [{"id": str(start + n), "vector": row} for n, row in enumerate(rows)]
        body = msgspec.json.encode({"items": items})
        began = time.perf_counter()
        connection.request("POST", f"/v1/vectors/index/{name}/add", body)
        answer = connection.getresponse()
        told = answer.read()
        taken += time.perf_counter() - began
        if answer.status != http.client.OK:
            raise RuntimeError(f"{answer.status} {told[:500]!r}")
    connection.close()
    return taken


def wait_for_index(server: Served, name: str) -> None:
    """Return once the index of a collection knows nearly all of its items."""
    deadline = time.monotonic() + READY_MAX_S
    while time.monotonic() < deadline:
        told = msgspec.json.decode(server.send("GET", f"/v1/vectors/index/{name}"))
        index = told["index"]
        if index["state"] == "ready" and index["waiting"] <= told["length"] // 20:
            return
        time.sleep(0.2)
    raise RuntimeError(f"the index of {name} is not ready: {index}")


def question(vector: Any, k: int) -> bytes:
    return msgspec.json.encode({"vector": vector.tolist(), "k": k})


def ids_of(answer: bytes) -> list[int]:
    return [int(each["id"]) for each in msgspec.json.decode(answer)["results"]]


def truth(vectors: Any, queries: Any, k: int) -> list[set[int]]:
    """Return the true `k` nearest of each query, by cosine, of unit vectors."""
    return [set(np.argsort(-(vectors @ query), kind="stable")[:k].tolist()) for query in queries]


def recall(found: list[list[int]], true: list[set[int]]) -> float:
    hits = sum(len(set(each) & nearest) for each, nearest in zip(found, true, strict=True))
    return hits / sum(map(len, true))
