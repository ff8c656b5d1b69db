"""vector-ann: a collection with an index, against LanceDB in process, and Chroma.

LanceDB is asked for the same of the same files, Chroma at the same recall. Then once more after
three of ten rows were changed.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lancedb
import msgspec
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
from benchmarks.serving import Served, lakehouse_server
from benchmarks.vector_stores import EF_SEARCH, Chroma, Lakehouse, Store
from lakehouse.vectors.lance import PROBES_MIN, REFINE

FULL_ROWS, QUICK_ROWS = 200_000, 60_000
UPSERTED, DELETED = 0.2, 0.1
"""Shares of the rows: those that get the vector of another sentence, and those that go."""
MORE_MAX, RECALL_MIN = 1.15, 0.97
NAME = "sentences"


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = QUICK_ROWS if quick else FULL_ROWS
    upserted = int(rows * UPSERTED)
    everything = vectors_of(rows + upserted + QUERIES)
    vectors, fresh = everything[:rows].copy(), everything[rows : rows + upserted]
    queries = everything[rows + upserted :]
    with lakehouse_server() as server, TemporaryDirectory(prefix="lakehouse-bench-") as place:
        found = filled(server, Path(place), vectors, queries, runs)
        change(server, vectors, fresh)
        return [*found, changed(server, vectors, queries, runs)]


def filled(server: Served, place: Path, vectors: Any, queries: Any, runs: int) -> list[Row]:
    true = truth(vectors, queries)
    with chroma(place) as port:
        added_per_s = [made(store, vectors) for store in (Lakehouse(server.port), Chroma(port))]
    wait_for_index(server, NAME)
    wait_for_memory(server, NAME, queries[0])
    ours = Searches(Lakehouse(server.port), NAME, queries, true)
    ours.p50_ms()
    ef_search = reaching(place, queries, true, ours.recall)
    lance = Direct(server, queries)
    with chroma(place) as port:
        theirs = Searches(Chroma(port), NAME, queries, true)
        mine, direct, peer = by_turns([ours.p50_ms, lance.p50_ms, theirs.p50_ms], runs)
    name = f"{version_of('chromadb')}, ef {ef_search}, recall {theirs.recall:.3f}"
    work = f"k {K} of {len(vectors):,} sentences, p50 (recall {ours.recall:.3f})"
    row = against_lance(work, mine, direct, ours.recall, sizes_of(vectors, added_per_s[0]))
    figure = Figure(name, peer)
    return [
        row,
        Row(
            name="vector-ann",
            work=work,
            unit="ms",
            ours=row.ours,
            reference=figure,
            ratio=round(row.ours.median / figure.median, 3),
            target="ahead of Chroma at the same recall",
            met=row.ours.median < figure.median,
            sizes=sizes_of(vectors, added_per_s[1]),
        ),
    ]


def made(store: Store, vectors: Any) -> float:
    """Make the collection; return the items a second that were added."""
    store.create(NAME, vectors.shape[1])
    return round(len(vectors) / fill(store, NAME, range(len(vectors)), vectors))


def reaching(place: Path, queries: Any, true: Sequence[set[int]], recall: float) -> int:
    """Have Chroma look at as few neighbours as reach a recall, and return how many.

    It loads its index with what is set at the start.
    """
    for ef_search in EF_SEARCH:
        with chroma(place) as port:
            Chroma(port).look_at(NAME, ef_search)
        with chroma(place) as port:
            searches = Searches(Chroma(port), NAME, queries, true)
            searches.p50_ms()
        if searches.recall >= recall:
            break
    return ef_search


def change(server: Served, vectors: Any, fresh: Any) -> None:
    """Give the first rows other vectors, and delete the last; deleted ones are far from all."""
    store, first = Lakehouse(server.port), len(vectors) - int(len(vectors) * DELETED)
    fill(store, NAME, range(len(fresh)), fresh)
    vectors[: len(fresh)] = fresh
    client = store.deleting(NAME)
    gone = range(first, len(vectors))
    for start in range(0, len(gone), 10_000):
        client.send(msgspec.json.encode({"ids": [str(n) for n in gone[start : start + 10_000]]}))
    client.close()
    vectors[first:] = np.nan  # no distance from it is less than another


def changed(server: Served, vectors: Any, queries: Any, runs: int) -> Row:
    wait_for_memory(server, NAME, queries[0])
    ours = Searches(Lakehouse(server.port), NAME, queries, truth(vectors, queries))
    lance = Direct(server, queries)
    mine, direct = by_turns([ours.p50_ms, lance.p50_ms], runs)
    share = f"{UPSERTED:.0%} upserted and {DELETED:.0%} deleted"
    work = f"the same with {share}, p50 (recall {ours.recall:.3f})"
    return against_lance(work, mine, direct, ours.recall, sizes_of(vectors))


def against_lance(
    work: str, mine: list[float], direct: list[float], recall: float, sizes: dict[str, float]
) -> Row:
    ours, lance = Figure("lakehouse", mine), Figure("LanceDB in process", direct)
    ratio = ours.median / lance.median
    return Row(
        name="vector-ann",
        work=work,
        unit="ms",
        ours=ours,
        reference=lance,
        ratio=round(ratio, 3),
        target=f"<= {MORE_MAX}x LanceDB in process, recall >= {RECALL_MIN}",
        met=ratio <= MORE_MAX and recall >= RECALL_MIN,
        sizes=sizes,
    )


def sizes_of(vectors: Any, added_per_s: float | None = None) -> dict[str, float]:
    sizes = {"rows": len(vectors), "dimension": vectors.shape[1], "queries": QUERIES, "k": K}
    return sizes if added_per_s is None else sizes | {"added_per_s": added_per_s}


class Direct:
    """The same searches of the same files, by LanceDB in this process."""

    def __init__(self, server: Served, queries: Any) -> None:
        self._table = table_in(server.data_dir)
        self._queries = queries

    def p50_ms(self) -> float:
        return float(np.median([self._search_s(query) for query in self._queries])) * 1000

    def _search_s(self, query: Any) -> float:
        began = time.perf_counter()
        asked = self._table.search(query).distance_type("cosine").refine_factor(REFINE)
        asked = asked.nprobes(PROBES_MIN).limit(K)
        asked.select(["id", "metadata", "_distance"]).to_arrow()
        return time.perf_counter() - began


def table_in(data_dir: Path) -> Any:
    connection = lancedb.connect(str(data_dir / "warehouse" / "vectors"))
    (name,) = connection.list_tables().tables
    return connection.open_table(name)
