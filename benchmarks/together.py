"""Many clients at once, each on a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


def rate(asks: Sequence[Callable[[], Any]], seconds: float) -> float:
    """Return the calls a second that all clients together made in so many seconds.

    Args:
        asks: one for each client, called again and again; what one raises is raised here.
    """
    counts = [0] * len(asks)

    def ask(number: int) -> None:
        while time.perf_counter() < deadline:
            asks[number]()
            counts[number] += 1

    began = time.perf_counter()
    deadline = began + seconds
    together(ask, len(asks))
    return sum(counts) / (time.perf_counter() - began)


def together(work: Callable[[int], None], clients: int) -> None:
    """Call `work(number)` for each client at the same time; raise what the first one raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
