"""Several objects stored at once: each waits for the disk or the server, not for the others."""

import _thread
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context

from lakehouse.reserve import with_frames

HELPERS_MAX = 16
"""Threads that store beside their callers, of the whole process. Without one a caller stores one
object after the other."""

helpers = threading.Semaphore(HELPERS_MAX)


class Write:
    """One of the writes, done by who comes first: a thread of its own, or who waits for it.

    No pool: its threads are waited for at the end of the process, however silent the store is. And
    no `threading.Thread`, whose `start` waits for a thread that may find no memory for its first
    frame (`lanes.py`): here the caller does what no thread has begun.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._context = copy_context()
        self._begun = threading.Lock()
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def help(self) -> bool:
        """Have a thread do it; False where there is none."""
        if not helpers.acquire(blocking=False):
            return False
        try:
            _thread.start_new_thread(with_frames, (self.do,))
        except (RuntimeError, MemoryError):  # no room for another thread
            helpers.release()
            return False
        return True

    def do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._context.run(self._work)
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def end(self) -> BaseException | None:
        """Return its error, when it has ended; it waits as long as the store takes for a write."""
        self._ended.wait()
        error, self._error = self._error, None  # else each would keep the other
        return error


def at_once(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them; return when the last is done.

    Raises:
        Whatever the first of them raises that fails, when all have ended: what is removed then does
        not come back.
    """
    writes = [Write(work) for work in works]
    helped = sum(each.help() for each in writes[1:])
    try:
        for each in writes:
            each.do()
        errors = [each.end() for each in writes]
    finally:
        if helped:
            helpers.release(helped)
    try:
        for error in errors:
            if error is not None:
                raise error
    finally:
        error = None
        errors.clear()  # else the first would keep this frame, and be kept by it
