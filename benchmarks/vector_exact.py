"""vector-exact: a collection in memory, against the same search by numpy in process, and Chroma."""

import time
from typing import Any

import numpy as np

from benchmarks.rivals import chroma, version_of
from benchmarks.row import Figure, Row, by_turns
from benchmarks.sentence_vectors import QUERIES, K, Searches, fill, truth, vectors_of
from benchmarks.serving import lakehouse_server
from benchmarks.vector_stores import Chroma, Lakehouse

FULL_ROWS, QUICK_ROWS = 50_000, 5_000
MORE_MAX_MS = 1.0
NAME = "sentences"


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = QUICK_ROWS if quick else FULL_ROWS
    everything = vectors_of(rows + QUERIES)
    vectors, queries = everything[:rows], everything[rows:]
    true = truth(vectors, queries)
    with lakehouse_server() as server, chroma() as port:
        searches = []
        for store in (Lakehouse(server.port), Chroma(port)):
            store.create(NAME, vectors.shape[1])
            fill(store, NAME, range(rows), vectors)
            searches.append(Searches(store, NAME, queries, true))
        ours, theirs = searches
        sides = [lambda: numpy_ms(vectors, queries), ours.p50_ms, theirs.p50_ms]
        direct, mine, rival = by_turns(sides, runs)
    figure, numpy = Figure("lakehouse", mine), Figure("numpy in process", direct)
    peer = Figure(f"{version_of('chromadb')}, recall {theirs.recall:.3f}", rival)
    more_ms = figure.median - numpy.median
    work = f"k {K} of {rows:,} sentences, p50"
    sizes = {"rows": rows, "dimension": vectors.shape[1], "queries": QUERIES, "k": K}
    return [
        Row(
            name="vector-exact",
            work=f"{work} ({more_ms:+.2f} ms; recall {ours.recall:.3f})",
            unit="ms",
            ours=figure,
            reference=numpy,
            ratio=round(figure.median / numpy.median, 3),
            target=f"<= {MORE_MAX_MS} ms more, recall 1",
            met=more_ms <= MORE_MAX_MS and ours.recall == 1,
            sizes=sizes,
        ),
        Row(
            name="vector-exact",
            work=f"{work} (recall {ours.recall:.3f})",
            unit="ms",
            ours=figure,
            reference=peer,
            ratio=round(figure.median / peer.median, 3),
            target="none",
            sizes=sizes,
        ),
    ]


def numpy_ms(vectors: Any, queries: Any) -> float:
    """Return the median milliseconds of the search as it is written without a server."""
    taken = []
    for query in queries:
        began = time.perf_counter()
        scores = vectors @ query
        nearest = np.argpartition(-scores, K)[:K]
        nearest[np.argsort(-scores[nearest])]
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1000
