"""vector-filter: searches among the rows that a filter keeps, against Chroma."""

from typing import Any

import numpy as np

from benchmarks.rivals import chroma, version_of
from benchmarks.row import Figure, Row, by_turns
from benchmarks.sentence_vectors import (
    QUERIES,
    K,
    Searches,
    fill,
    truth,
    vectors_of,
    wait_for_index,
    wait_for_memory,
)
from benchmarks.serving import lakehouse_server
from benchmarks.vector_stores import Chroma, Lakehouse

FULL_ROWS, QUICK_ROWS = 200_000, 60_000
KEEPING = {"percent": (100, "1 %"), "myriad": (10_000, "0.01 %")}
"""Keys of the metadata: how many values each has, and so what a filter for one of them keeps."""
TIMES, RECALL_MIN = 5, 0.97
NAME = "sentences"


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = QUICK_ROWS if quick else FULL_ROWS
    everything = vectors_of(rows + QUERIES)
    vectors, queries = everything[:rows], everything[rows:]
    metadata = [{key: n % count for key, (count, _) in KEEPING.items()} for n in range(rows)]
    with lakehouse_server() as server, chroma() as port:
        stores = Lakehouse(server.port), Chroma(port)
        for store in stores:
            store.create(NAME, vectors.shape[1])
            fill(store, NAME, range(rows), vectors, metadata)
        wait_for_index(server, NAME)
        wait_for_memory(server, NAME, queries[0])
        return [measured(stores, vectors, queries, key, runs) for key in KEEPING]


def measured(
    stores: tuple[Lakehouse, Chroma], vectors: Any, queries: Any, key: str, runs: int
) -> Row:
    count, share = KEEPING[key]
    filters = [{key: number % count} for number in range(len(queries))]
    places = np.arange(len(vectors)) % count
    true = truth(vectors, queries, [places == each[key] for each in filters])
    ours, theirs = (Searches(each, NAME, queries, true, filters) for each in stores)
    mine, rival = by_turns([ours.p50_ms, theirs.p50_ms], runs)
    figure = Figure("lakehouse", mine)
    peer = Figure(f"{version_of('chromadb')}, recall {theirs.recall:.3f}", rival)
    return Row(
        name="vector-filter",
        work=f"k {K} of the {share} that a filter keeps of {len(vectors):,} sentences,"
        f" p50 (recall {ours.recall:.3f})",
        unit="ms",
        ours=figure,
        reference=peer,
        ratio=round(figure.median / peer.median, 3),
        target=f"{TIMES} times as fast as Chroma, recall >= {RECALL_MIN}",
        met=figure.median * TIMES <= peer.median and ours.recall >= RECALL_MIN,
        sizes={"rows": len(vectors), "dimension": vectors.shape[1], "queries": QUERIES, "k": K},
    )
