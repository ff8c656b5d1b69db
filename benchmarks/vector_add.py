"""vector-add: items that are durable and found when the answer comes, against Chroma."""

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.rivals import chroma, version_of
from benchmarks.row import Figure, Row, by_turns
from benchmarks.sentence_vectors import BATCH, fill, vectors_of
from benchmarks.serving import KeptAlive, lakehouse_server
from benchmarks.together import rate
from benchmarks.vector_stores import Chroma, Lakehouse, Store

FULL_ITEMS, QUICK_ITEMS = 100_000, 5_000
CLIENTS = 32
FULL_S, QUICK_S = 5.0, 1.0
TIMES = 5


def run(*, quick: bool, runs: int) -> list[Row]:
    items = QUICK_ITEMS if quick else FULL_ITEMS
    seconds = QUICK_S if quick else FULL_S
    vectors = vectors_of(items)
    with lakehouse_server() as server, chroma() as port:
        adding = [Adding(store, vectors) for store in (Lakehouse(server.port), Chroma(port))]
        batches = by_turns([each.batches for each in adding], runs)
        singles = by_turns([partial(each.singles, seconds) for each in adding], runs)
    return [
        compared(f"{items:,} items in requests of {BATCH:,}", *batches),
        compared(f"one item a request, {CLIENTS} clients", *singles),
    ]


def compared(work: str, mine: list[float], theirs: list[float]) -> Row:
    ours, peer = Figure("lakehouse", mine), Figure(version_of("chromadb"), theirs)
    return Row(
        name="vector-add",
        work=f"{work}, until durable and found",
        unit="items/s",
        ours=ours,
        reference=peer,
        ratio=round(ours.median / peer.median, 3),
        target=f">= {TIMES}x Chroma",
        met=ours.median >= TIMES * peer.median,
        sizes={"batch": BATCH, "clients": CLIENTS},
        note="both have it synced: by strace Chroma's SQLite calls fsync at each commit",
    )


class Adding:
    """Adds to fresh collections of one store."""

    def __init__(self, store: Store, vectors: Any) -> None:
        self._store, self._vectors = store, vectors
        self._numbers = itertools.count()

    def batches(self) -> float:
        """Return the items a second, the first search for the last of them counted."""
        name = self._created()
        taken_s = fill(self._store, name, range(len(self._vectors)), self._vectors)
        taken_s += self._found_s(name, len(self._vectors) - 1)
        self._store.drop(name)
        return len(self._vectors) / taken_s

    def singles(self, seconds: float) -> float:
        """Return the items a second of many clients that add one after the other."""
        name, ids = self._created(), itertools.count()
        connections = [self._store.adding(name) for _ in range(CLIENTS)]
        found = rate([self._one(each, ids) for each in connections], seconds)
        for each in connections:
            each.close()
        self._found_s(name, next(ids) - 1)
        self._store.drop(name)
        return found

    def _created(self) -> str:
        name = f"added-{next(self._numbers)}"
        self._store.create(name, self._vectors.shape[1])
        return name

    def _one(self, connection: KeptAlive, ids: "itertools.count[int]") -> Callable[[], bytes]:
        def add() -> bytes:
            number = next(ids)
            vector = self._vectors[number % len(self._vectors)]
            return connection.send(self._store.items([number], vector[None]))

        return add

    def _found_s(self, name: str, number: int) -> float:
        """Search for an item by its vector; raise unless it is found.

        Its vector may have been added before, under another id.
        """
        count = len(self._vectors)
        client = self._store.searching(name)
        began = time.perf_counter()
        question = self._store.question(self._vectors[number % count], 1 + number // count)
        found = self._store.ids_of(client.send(question))
        taken_s = time.perf_counter() - began
        client.close()
        assert number in found, f"{number} was acknowledged, {found} were found"
        return taken_s
