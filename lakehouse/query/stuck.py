"""Statements that look at no interrupt: named, bounded, and in the end the reason to start again.

A single call of a function of the engine can hold its thread for as long as it likes. Its caller
was answered; the thread, and what memory it has, comes back when the call ends, or never.
"""

import logging
import time
from collections.abc import Callable

import anyio

from lakehouse.lanes import Threads
from lakehouse.query.run_errors import ThreadsStuckError

log = logging.getLogger(__name__)

STUCK_MAX_S = 60.0
"""How long half of the lane may be gone before the process ends, to be started anew."""
LOOK_EVERY_S = 2.0


class Stuck:
    """What the lane of short work has given up on."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._most = max(1, threads.count // 2)

    def check(self) -> None:
        """Refuse a new statement while half of the threads do not come back.

        Raises:
            ThreadsStuckError: they do not.
        """
        count = len(self._threads.given_up())
        if count >= self._most:
            raise ThreadsStuckError(count)

    def warnings(self) -> list[str]:
        """Name each statement that was stopped and still holds its thread, and since when."""
        now = time.monotonic()
        return [
            f"the statement {each.name} was stopped {now - each.since:.0f} s ago"
            " and its thread has not come back"
            for each in self._threads.given_up()
        ]

    async def watch(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` once half of the threads have been gone for `STUCK_MAX_S`."""
        since = time.monotonic()
        while time.monotonic() - since < STUCK_MAX_S:
            await anyio.sleep(LOOK_EVERY_S)
            if len(self._threads.given_up()) < self._most:
                since = time.monotonic()
        log.critical("%d threads do not come back; the process ends", self._most)
        on_end()
