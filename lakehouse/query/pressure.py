"""Statements give way before the last of the memory is gone: not all survive that.

The engine lives when the kernel refuses it memory (`RLIMIT_DATA`). Python does as a rule, and has
some in hand (`reserve.py`); what it calls in C may not. Four hostile statements at once took the
last byte, and the process crashed (`tests/security/test_dos.py`, many at once). So those that run
are interrupted while there is some left, are tried once more when there is again, and get 503 then.

The kernel counts what is reserved, touched or not, and a heap that was large once stays reserved:
after a statement of many small things that may be 500 MiB, and what runs would give way to nothing.
So the limit moves up by what has not been touched for a while, and down when that is used again.
"""

import logging
import resource
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lakehouse.database import give_back
from lakehouse.reserve import trim, with_frames

log = logging.getLogger(__name__)

ROOM_SHARE, ROOM_MAX_BYTES = 0.25, 512 * 1024 * 1024
"""What stays free. A statement takes up to 1 GB a second, and some look at an interrupt once in
2,048 rows."""
RESERVED_BYTES = 384 * 1024 * 1024
"""What is reserved and not touched by stacks and arenas: the limit has room for that."""
MOVED_MAX_BYTES = 512 * 1024 * 1024
"""What the limit moves by at most: all of it could be touched at once after all."""
STEP_BYTES = 16 * 1024 * 1024
IDLE_LOOKS, IDLE_LOOK_S = 10, 1.0
"""What a statement has reserved and is about to fill is touched before so many seconds."""
LOOK_EVERY_S = 0.01
PAUSE_S = 0.1
"""What was interrupted needs a moment to give its memory back."""
PAGE_BYTES = resource.getpagesize()
RESIDENT, SHARED, DATA = 1, 2, 5
"""Columns of `/proc/self/statm`. The kernel compares the last one: data and stacks."""
STATM = Path("/proc/self/statm")


def room_bytes(limit_bytes: int) -> int:
    return min(int(limit_bytes * ROOM_SHARE), ROOM_MAX_BYTES)


def sizes(statm: bytes) -> tuple[int, int]:
    """Return what the kernel compares with the limit, and how much of it is not touched."""
    pages = [int(each) for each in statm.split()]
    data, touched = pages[DATA], pages[RESIDENT] - pages[SHARED]
    return data * PAGE_BYTES, max(data - touched, 0) * PAGE_BYTES


def is_short() -> bool:
    """Whether the process has less left than the room; not where it is embedded in another."""
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit_bytes == resource.RLIM_INFINITY:  # the memory is somebody else's
        return False
    data, _ = sizes(STATM.read_bytes())
    return data > limit_bytes - room_bytes(limit_bytes)


def wait_while_short(within_s: float) -> None:
    """Return when there is memory again, or after `within_s` seconds. On a worker thread."""
    deadline = time.monotonic() + within_s
    while is_short() and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


class Limit:
    """The kernel's limit, which follows what is reserved and idle. One thread looks at it.

    Args:
        first_bytes: what it is, and what it never goes below.
        set_bytes: has the kernel take another limit.
    """

    def __init__(self, first_bytes: int, set_bytes: Callable[[int], None]) -> None:
        self.bytes = self._first = first_bytes
        self._set = set_bytes
        self._looks: deque[int] = deque([0] * IDLE_LOOKS, maxlen=IDLE_LOOKS)
        self._looked_at = 0.0

    def look(self, untouched_bytes: int, now: float) -> None:
        """Note what is not touched `now`, in seconds of any clock, and move the limit by it."""
        if now - self._looked_at >= IDLE_LOOK_S:
            self._looks.append(untouched_bytes)
            self._looked_at = now
        self._looks[-1] = min(self._looks[-1], untouched_bytes)
        idle = max(min(self._looks) - RESERVED_BYTES, 0)
        wanted = self._first + min(idle, MOVED_MAX_BYTES) // STEP_BYTES * STEP_BYTES
        if wanted != self.bytes:
            self._set(wanted)
            self.bytes = wanted


def set_limit(limit_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


@contextmanager
def watched(give_way: Callable[[], int]) -> Iterator[None]:
    """Call `give_way` while the process has less left than the room, in the block.

    Args:
        give_way: called on a thread of its own; interrupts what runs, and returns how many.
    """
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit_bytes == resource.RLIM_INFINITY:
        yield
        return
    limit = Limit(limit_bytes, set_limit)

    def is_above(data: int, untouched: int) -> bool:
        limit.look(untouched, time.monotonic())
        return data > limit.bytes - room_bytes(limit.bytes)

    with watch(is_above, give_way):
        yield


@contextmanager
def watch(is_above: Callable[[int, int], bool], give_way: Callable[[], int]) -> Iterator[None]:
    """Call `give_way` while the process has too much, in the block.

    Args:
        is_above: told what it has, and how much of it is not touched, in bytes.
    """
    ended: list[bool] = []

    def look() -> None:
        with STATM.open("rb", buffering=0) as file:
            while not ended:
                time.sleep(LOOK_EVERY_S)  # and no event: to wait for one takes memory
                with suppress(MemoryError):  # now of all times: the next look may have some
                    file.seek(0)
                    if is_above(*sizes(file.read())):
                        if count := give_way():
                            log.warning("memory is short: %s statements give way", count)
                        time.sleep(PAUSE_S)
                        give_back()  # else what they had is kept, for a second and for good
                        trim()

    thread = threading.Thread(target=with_frames, args=(look,), name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.append(True)
        thread.join()
