"""vector-ann: a collection with an index, against the same table asked by LanceDB in process."""

import time
from pathlib import Path
from typing import Any

import lancedb
import numpy as np

from benchmarks.row import Figure, Row
from benchmarks.sentence_vectors import (
    fill,
    ids_of,
    question,
    recall,
    truth,
    vectors_of,
    wait_for_index,
)
from benchmarks.serving import KeptAlive, lakehouse_server
from lakehouse.vectors.lance import PROBES_MIN, REFINE

FULL_ROWS, QUICK_ROWS = 200_000, 60_000
QUERIES, K = 200, 10
MORE_MAX, RECALL_MIN = 1.15, 0.97


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = QUICK_ROWS if quick else FULL_ROWS
    everything = vectors_of(rows + QUERIES)
    vectors, queries = everything[:rows], everything[rows:]
    true = truth(vectors, queries, K)
    mine, theirs, found = [], [], []
    with lakehouse_server() as server:
        adding_s = fill(server, "sentences", vectors)
        wait_for_index(server, "sentences")
        table = table_in(server.data_dir)
        client = KeptAlive(
            server.port, "POST", "/v1/vectors/index/sentences/search", b"", "application/json"
        )
        bodies = [question(query, K) for query in queries]
        for number in range(runs + 1):
            taken, answers = [], []
            for body in bodies:
                began = time.perf_counter()
                answers.append(client.send(body))
                taken.append(time.perf_counter() - began)
            found = [ids_of(answer) for answer in answers]
            reference = [direct_s(table, query) for query in queries]
            if number:
                mine.append(float(np.median(taken)) * 1000)
                theirs.append(float(np.median(reference)) * 1000)
        client.close()
    ours, lance = Figure("lakehouse", mine), Figure("LanceDB in process", theirs)
    ratio, found_share = ours.median / lance.median, recall(found, true)
    return [
        Row(
            name="vector-ann",
            work=f"k {K} of {rows:,} sentences, p50 (recall {found_share:.3f})",
            unit="ms",
            ours=ours,
            reference=lance,
            ratio=round(ratio, 3),
            target=f"<= {MORE_MAX}x LanceDB in process, recall >= {RECALL_MIN}",
            met=ratio <= MORE_MAX and found_share >= RECALL_MIN,
            sizes={
                "rows": rows,
                "dimension": vectors.shape[1],
                "queries": QUERIES,
                "k": K,
                "added_per_s": round(rows / adding_s),
            },
        )
    ]


def table_in(data_dir: Path) -> Any:
    connection = lancedb.connect(str(data_dir / "warehouse" / "vectors"))
    (name,) = connection.list_tables().tables
    return connection.open_table(name)


def direct_s(table: Any, query: Any) -> float:
    began = time.perf_counter()
    asked = table.search(query).distance_type("cosine").refine_factor(REFINE)
    asked = asked.nprobes(PROBES_MIN).limit(K)
    asked.select(["id", "metadata", "_distance"]).to_arrow()
    return time.perf_counter() - began
