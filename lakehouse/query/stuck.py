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
    """The statements that a lane has given up on."""

    def __init__(
        self,
        threads: Threads,
        *,
        stuck_max_s: float = STUCK_MAX_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._threads = threads
        self._most = max(1, threads.count // 2)
        self._stuck_max_s = stuck_max_s
        self._look_every_s = look_every_s

    def check(self) -> None:
        """Refuse a new statement while half of the threads do not come back.

        Raises:
            ThreadsStuckError: they do not.
        """
        count = len(self._threads.given_up())
        if count >= self._most:
            raise ThreadsStuckError(count)

    def names(self) -> list[str]:
        """Return the ids of the statements that were stopped and still hold their threads."""
        return [each.name for each in self._threads.given_up()]

    def warnings(self) -> list[str]:
        """Name each statement that was stopped and still holds its thread, and since when."""
        now = time.monotonic()
        return [
            f"the statement {each.name} was stopped {now - each.since:.0f} s ago"
            " and its thread has not come back"
            for each in self._threads.given_up()
        ]

    async def watch(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` once half of the threads have been gone for `stuck_max_s`, and return."""
        since = time.monotonic()
        while time.monotonic() - since < self._stuck_max_s:
            await anyio.sleep(self._look_every_s)
            if len(self._threads.given_up()) < self._most:
                since = time.monotonic()
        names = ", ".join(self.names())
        log.critical("statements that were stopped do not end: %s; the process ends", names)
        on_end()
