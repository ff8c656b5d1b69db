"""vector-sizes: latency and recall of searches, by how many items a collection has.

`python -m benchmarks.vector_sizes` writes the table of docs/vectors.md from the newest figures.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.row import RESULTS, ROOT, Figure, Report, Row, spelled
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
from benchmarks.serving import KeptAlive, lakehouse_server
from benchmarks.together import rate
from benchmarks.vector_stores import Lakehouse

FULL_SIZES, QUICK_SIZES = (1_000, 10_000, 50_000, 200_000), (1_000, 10_000)
INDEXED_MIN = 10_000
"""Rows from which on an index is measured as well."""
WAYS = ("memory", "memory index", "index")
CLIENTS = 8
FULL_S, QUICK_S = 5.0, 0.5
NAME = "sentences"
PAGE = ROOT / "docs" / "vectors.md"
BEGIN, END = "<!-- sizes -->\n\n", "\n\n<!-- end of sizes -->"
HEAD = f"""| Items | Way | p50 | {CLIENTS} clients together | recall@{K} | added |
|---:|---|---:|---:|---:|---:|"""


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = []
    for size in QUICK_SIZES if quick else FULL_SIZES:
        for way in WAYS if size >= INDEXED_MIN else WAYS[:1]:
            rows.append(measured(size, way, runs, QUICK_S if quick else FULL_S))
    return rows


def measured(rows: int, way: str, runs: int, seconds: float) -> Row:
    everything = vectors_of(rows + QUERIES)
    vectors, queries = everything[:rows], everything[rows:]
    settings = {
        "LAKEHOUSE_VECTORS__EXACT_MAX_ROWS": str(rows if way == "memory" else rows - 1),
        "LAKEHOUSE_VECTORS__MEMORY_INDEX": str(way == "memory index").lower(),
    }
    with lakehouse_server(settings=settings) as server:
        store = Lakehouse(server.port)
        store.create(NAME, vectors.shape[1])
        adding_s = fill(store, NAME, range(rows), vectors)
        if way != "memory":
            wait_for_index(server, NAME)
        if way == "memory index":
            wait_for_memory(server, NAME, queries[0])
        searches = Searches(store, NAME, queries, truth(vectors, queries))
        searches.p50_ms()
        values = [searches.p50_ms() for _ in range(runs)]
        asks = [one_of(store.searching(NAME), searches.bodies) for _ in range(CLIENTS)]
        together = rate(asks, seconds)
    return Row(
        name="vector-sizes",
        work=f"k {K} of {rows:,} sentences by {way}, p50 (recall {searches.recall:.3f})",
        unit="ms",
        ours=Figure("lakehouse", values),
        target="none",
        sizes={
            "rows": rows,
            "way": WAYS.index(way),
            "recall": searches.recall,
            "searches_per_s": round(together),
            "added_per_s": round(rows / adding_s),
        },
    )


def one_of(client: KeptAlive, bodies: Sequence[bytes]) -> Callable[[], Any]:
    """Return what asks the next of the same questions, round and round."""
    turns = itertools.cycle(bodies)
    return lambda: client.send(next(turns))


def table(reports: Sequence[Report]) -> str:
    """Return the figures as the page shows them."""
    lines = [HEAD]
    for each in reports:
        sizes = each.row.sizes
        rows, added, searched = (
            f"{int(sizes[name]):,}" for name in ("rows", "added_per_s", "searches_per_s")
        )
        lines.append(
            f"| {rows} | `{WAYS[int(sizes['way'])]}` | {spelled(each.ours_median)} ms"
            f" | {searched}/s | {sizes['recall']:.3f} | {added} items/s |"
        )
    return "\n".join(lines)


def newest() -> str:
    """Return the table of the newest results that have these rows."""
    for path in sorted(RESULTS.glob("*.json"), reverse=True):
        reports = msgspec.json.decode(path.read_bytes(), type=list[Report])
        if found := [each for each in reports if each.row.name == "vector-sizes"]:
            return table(found)
    return "There are none yet."


def shown() -> str:
    """Return what the page shows."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + newest() + END + rest.partition(END)[2])


if __name__ == "__main__":
    write()
