"""embed-together: a text each of many clients, against one client that sends them all at once."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import numpy as np

from benchmarks.row import Figure, Row, by_turns
from benchmarks.sentences import sentences
from benchmarks.serving import KeptAlive, Served, lakehouse_server
from tests import ollama
from tests.services import program

CLIENTS = 32
FULL_TIMES, QUICK_TIMES = 20, 1
MORE_MAX = 1.5
DEADLINE_S = 600
"""On a busy machine a model takes its time: that is measured, and no error."""


def run(*, quick: bool, runs: int) -> list[Row]:
    times = QUICK_TIMES if quick else FULL_TIMES
    texts = sentences(2 * CLIENTS * times * (runs + 1))  # each once: nothing comes from a cache
    with lakehouse_server() as server:
        rows = [measured(server, "static-minilm-256", texts, runs, times)]
    files = [program("ollama"), *ollama.model_files().values()]
    if not all(each and each.exists() for each in files):  # `.ci/services` brings them
        return rows
    with ollama.running() as models:
        settings = {
            "LAKEHOUSE_EMBEDDING__OLLAMA_URL": models.url,
            "LAKEHOUSE_EMBEDDING__OLLAMA_MODEL": ollama.MODEL,
            "LAKEHOUSE_EMBEDDING__DEADLINE_S": str(DEADLINE_S),
        }
        with lakehouse_server(settings=settings) as server:
            rows.append(measured(server, ollama.MODEL, texts, runs, times))
    return rows


def measured(server: Served, model: str, texts: Sequence[str], runs: int, times: int) -> Row:
    groups = (texts[start : start + CLIENTS] for start in range(0, len(texts), CLIENTS))
    with ThreadPoolExecutor(CLIENTS) as pool:

        def apart(clients: Sequence[KeptAlive], group: Sequence[str]) -> None:
            bodies = [body_of([text], model) for text in group]
            list(pool.map(KeptAlive.send, clients, bodies))

        def at_once(clients: Sequence[KeptAlive], group: Sequence[str]) -> None:
            clients[0].send(body_of(group, model))

        sides = [partial(p50_ms, server, groups, ask, times) for ask in (at_once, apart)]
        one, many = by_turns(sides, runs)
    ours, reference = Figure(f"{CLIENTS} clients", many), Figure("one request of all", one)
    ratio = ours.median / reference.median
    return Row(
        name="embed-together",
        work=f"{CLIENTS} clients with a text each, {model}, until all have theirs",
        unit="ms",
        ours=ours,
        reference=reference,
        ratio=round(ratio, 3),
        target=f"<= {MORE_MAX}x one request of all",
        met=ratio <= MORE_MAX,
        sizes={"clients": CLIENTS, "times": times},
    )


def body_of(texts: Sequence[str], model: str) -> bytes:
    return msgspec.json.encode({"texts": texts, "model": model})


def p50_ms(
    server: Served,
    groups: Iterator[Sequence[str]],
    ask: Callable[[Sequence[KeptAlive], Sequence[str]], None],
    times: int,
) -> float:
    path, kind = "/v1/embed", "application/json"
    taken = []
    for group in itertools.islice(groups, times):
        clients = [KeptAlive(server.port, "POST", path, b"", kind) for _ in range(CLIENTS)]
        began = time.perf_counter()
        ask(clients, group)
        taken.append(time.perf_counter() - began)
        for client in clients:
            client.close()
    return float(np.median(taken)) * 1000
