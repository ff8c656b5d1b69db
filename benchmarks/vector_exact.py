"""vector-exact: a collection in memory, against the same search by numpy in process."""

import time

import numpy as np

from benchmarks.row import Figure, Row
from benchmarks.sentence_vectors import fill, ids_of, question, recall, truth, vectors_of
from benchmarks.serving import KeptAlive, lakehouse_server

FULL_ROWS, QUICK_ROWS = 50_000, 5_000
QUERIES, K = 200, 10
MORE_MAX_MS = 1.0


def run(*, quick: bool, runs: int) -> list[Row]:
    rows = QUICK_ROWS if quick else FULL_ROWS
    everything = vectors_of(rows + QUERIES)
    vectors, queries = everything[:rows], everything[rows:]
    true = truth(vectors, queries, K)
    mine, theirs, found = [], [], []
    with lakehouse_server() as server:
        fill(server, "sentences", vectors)
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
            reference = []
            for query in queries:
                began = time.perf_counter()
                scores = vectors @ query
                nearest = np.argpartition(-scores, K)[:K]
                nearest[np.argsort(-scores[nearest])]
                reference.append(time.perf_counter() - began)
            if number:
                mine.append(float(np.median(taken)) * 1000)
                theirs.append(float(np.median(reference)) * 1000)
        client.close()
    ours, numpy = Figure("lakehouse", mine), Figure("numpy in process", theirs)
    more_ms, found_share = ours.median - numpy.median, recall(found, true)
    return [
        Row(
            name="vector-exact",
            work=f"k {K} of {rows:,} sentences, p50 ({more_ms:+.2f} ms; recall {found_share:.3f})",
            unit="ms",
            ours=ours,
            reference=numpy,
            ratio=round(ours.median / numpy.median, 3),
            target=f"<= {MORE_MAX_MS} ms more, recall 1",
            met=more_ms <= MORE_MAX_MS and found_share == 1,
            sizes={"rows": rows, "dimension": vectors.shape[1], "queries": QUERIES, "k": K},
        )
    ]
