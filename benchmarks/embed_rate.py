"""embed-rate: a thousand texts a request, against the model called in process."""

import time

import msgspec
from model2vec import StaticModel

from benchmarks.row import Figure, Row
from benchmarks.sentence_vectors import MODEL
from benchmarks.sentences import sentences
from benchmarks.serving import KeptAlive, lakehouse_server

TEXTS, FULL_REQUESTS, QUICK_REQUESTS = 1_000, 20, 3
MORE_MAX = 1.2


def run(*, quick: bool, runs: int) -> list[Row]:
    requests = QUICK_REQUESTS if quick else FULL_REQUESTS
    needed = TEXTS * requests * (runs + 1)
    texts = sentences(needed)  # each once: nothing comes from a cache
    groups = [texts[start : start + TEXTS] for start in range(0, needed, TEXTS)]
    model = StaticModel.from_pretrained(MODEL)
    mine, theirs = [], []
    with lakehouse_server() as server:
        for number in range(runs + 1):
            part = groups[number * requests : (number + 1) * requests]
            bodies = [msgspec.json.encode({"texts": group}) for group in part]
            client = KeptAlive(server.port, "POST", "/v1/embed", b"", "application/json")
            began = time.perf_counter()
            for body in bodies:
                client.send(body)
            between = time.perf_counter()
            client.close()
            for group in part:
                model.encode(group, use_multiprocessing=False)
            if number:  # the first loads the model
                mine.append(TEXTS * requests / (between - began))
                theirs.append(TEXTS * requests / (time.perf_counter() - between))
    ours, reference = Figure("lakehouse", mine), Figure("model2vec in process", theirs)
    ratio = reference.median / ours.median
    return [
        Row(
            name="embed-rate",
            work=f"{TEXTS:,} texts a request, static model",
            unit="texts/s",
            ours=ours,
            reference=reference,
            ratio=round(ratio, 3),
            target=f"<= {MORE_MAX}x the time of model2vec in process",
            met=ratio <= MORE_MAX,
            sizes={"requests": requests, "texts": TEXTS},
        )
    ]
